"""Compares a clip to a rendering of the balls that are detected in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import Tensor

from ..detect.balls import Track, find_spots, track_balls
from ..detect.quality import ball_mask, decibels
from ..world.render import background, render
from ..world.world import COLOURS, MATERIALS, Worlds

OUTSIDE = -1.0  # frame widths: a position outside the frame


@dataclass(frozen=True)
class RenderMatch:
    """The detected balls, the best-matching material of each, and the PSNR of the rendering in dB."""

    tracks: list[Track]
    materials: tuple[str, ...]
    decibels: float


def fidelity(frames: np.ndarray | Tensor) -> float:
    """Computes the PSNR in dB of `frames` [F, H, H, 3] in 0..1 to a rendering of the detected balls, on ball pixels.

    The only error of a simulated clip is that of the tracking. A clip without balls gives 0.
    """
    return match_materials(frames).decibels


def match_materials(frames: np.ndarray | Tensor) -> RenderMatch:
    """Tracks at most two balls in `frames` [F, H, H, 3] in 0..1, renders them in all materials and returns the best match.

    The rendered balls have the tracked positions, colours and median radii.
    """
    frames = np.asarray(frames, np.float32)
    tracks = track_balls(find_spots(frames), len(frames))[:2]
    if not tracks:
        return RenderMatch([], (), 0.0)
    balls = ball_mask(frames)
    choices = product(range(len(MATERIALS)), repeat=len(tracks))
    tried = {materials: _compare(frames, balls, tracks, materials) for materials in choices}
    best = max(tried, key=lambda materials: tried[materials])
    return RenderMatch(tracks, tuple(MATERIALS[material] for material in best), tried[best])


def _compare(frames: np.ndarray, balls: np.ndarray, tracks: list[Track], materials: tuple[int, ...]) -> float:
    """Computes the PSNR in dB on pixels that are a ball in `frames` or in the rendering."""
    painted = render(_world(tracks, materials), frames.shape[1])[0].astype(np.float32) / 255
    changed = np.abs(painted - background(frames.shape[1])).max(-1) > 1 / 255
    where = changed | balls
    return decibels(float(np.square(painted[where] - frames[where], dtype=np.float64).mean())) if where.any() else 0.0


def _world(tracks: list[Track], materials: tuple[int, ...]) -> Worlds:
    """Converts the tracked balls to one clip of the simulator."""
    frames = len(tracks[0].centre)
    position = np.full((1, 2, frames, 2), OUTSIDE)
    exists, radius = np.zeros((1, 2), bool), np.ones((1, 2))
    colour, material = np.zeros((1, 2), int), np.zeros((1, 2), int)
    for ball, (track, of) in enumerate(zip(tracks, materials)):
        position[0, ball] = np.where(track.seen[:, None], track.centre, OUTSIDE)
        exists[0, ball], radius[0, ball] = True, np.nanmedian(track.radius)
        colour[0, ball], material[0, ball] = COLOURS.index(track.colour), of
    none = np.full((1, 0), np.inf)
    return Worlds(exists, colour, np.zeros((1, 2), int), material, radius, position, none, none, none, none)
