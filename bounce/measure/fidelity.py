"""How much a clip looks like Bounce: against the world's own picture of the balls that are seen in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ..detect.balls import Track, find_spots, follow
from ..detect.quality import ball_mask, decibels
from ..world.render import background, render
from ..world.world import COLOURS, MATERIALS, Worlds

NOWHERE = -1.0  # widths: outside the picture


@dataclass(frozen=True)
class Likeness:
    """The balls that are seen, the material that each most looks to be of, and how well that fits, in dB."""

    tracks: list[Track]
    materials: tuple[str, ...]
    decibels: float


def fidelity(frames) -> float:
    """Peak signal-to-noise ratio in dB on ball pixels of `frames` [F, H, H, 3] in 0..1; 0 for a clip without a ball.

    A clip that shows a ball as the world would loses nothing but what following it loses.
    """
    return likeliest(frames).decibels


def likeliest(frames) -> Likeness:
    """The clip's balls, followed and painted where they are seen with their own radius and colour, in whichever materials
    fit best."""
    frames = np.asarray(frames, np.float32)
    tracks = follow(find_spots(frames), len(frames))[:2]
    if not tracks:
        return Likeness([], (), 0.0)
    balls = ball_mask(frames)
    choices = product(range(len(MATERIALS)), repeat=len(tracks))
    tried = {materials: _likeness(frames, balls, tracks, materials) for materials in choices}
    best = max(tried, key=tried.get)
    return Likeness(tracks, tuple(MATERIALS[material] for material in best), tried[best])


def _likeness(frames: np.ndarray, balls: np.ndarray, tracks: list[Track], materials: tuple[int, ...]) -> float:
    painted = render(_world(tracks, materials), frames.shape[1])[0].astype(np.float32) / 255
    changed = np.abs(painted - background(frames.shape[1])).max(-1) > 1 / 255
    where = changed | balls
    return decibels(float(np.square(painted[where] - frames[where], dtype=np.float64).mean())) if where.any() else 0.0


def _world(tracks: list[Track], materials: tuple[int, ...]) -> Worlds:
    """The tracked balls as one clip of the world."""
    frames = len(tracks[0].centre)
    position = np.full((1, 2, frames, 2), NOWHERE)
    exists, radius = np.zeros((1, 2), bool), np.ones((1, 2))
    colour, material = np.zeros((1, 2), int), np.zeros((1, 2), int)
    for ball, (track, of) in enumerate(zip(tracks, materials)):
        position[0, ball] = np.where(track.seen[:, None], track.centre, NOWHERE)
        exists[0, ball], radius[0, ball] = True, np.nanmedian(track.radius)
        colour[0, ball], material[0, ball] = COLOURS.index(track.colour), of
    none = np.full((1, 0), np.inf)
    return Worlds(exists, colour, np.zeros((1, 2), int), material, radius, position, none, none, none, none)
