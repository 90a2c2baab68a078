"""Detects balls as saturated spots on a grey background and tracks them from frame to frame by hue.

Made for Bounce: grey background, few balls, all of different colours. Lengths are fractions of the frame width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

HUES = {"red": 0.0, "yellow": 56.0, "green": 123.0, "cyan": 186.0, "blue": 234.0, "purple": 296.0}  # degrees
COLOURED = 0.14  # smallest chroma (maximum minus minimum of r, g, b) of a pixel of a ball
VIVID = 0.30  # smallest peak chroma of a ball
FULL = 0.28  # chroma at which the weight of a pixel reaches 1
SAME_HUE = np.cos(np.radians(40))  # neighbouring pixels whose hues differ by more belong to different balls
SMALLEST_AREA = 14 / 64**2  # smaller spots are ignored; the smallest ball covers 50 / 64²
SEEN_SHARE = 0.25  # colours in a smaller share of the frames are ignored


@dataclass(frozen=True)
class Spots:
    """All spots of all frames, [S] each: frame index, centre [S, 2], radius, area, hue (unit complex), colour index."""

    frame: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    area: np.ndarray
    hue: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Track:
    """One ball over a clip. `centre` [F, 2] (x, y) and `radius` [F] are NaN in frames without it."""

    colour: str
    centre: np.ndarray
    radius: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Bool [F]: the frames in which the ball is visible."""
        return np.isfinite(self.radius)


def find_spots(frames: np.ndarray | Tensor) -> Spots:
    """Finds the balls in each frame of `frames` [F, H, W, 3] in 0..1. Raises ValueError if the shape differs."""
    frames = np.asarray(frames, np.float32)
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames have shape {frames.shape}; use [F, H, W, 3]")
    chroma = frames.max(-1) - frames.min(-1)
    mask = chroma > COLOURED
    pixel = np.stack(np.nonzero(mask))
    red, green, blue = frames[mask].T
    vector = red - (green + blue) / 2 + 1j * np.sqrt(0.75) * (green - blue)
    hue = vector / np.maximum(np.abs(vector), 1e-6)
    return _measure_spots(pixel, chroma[mask], hue, _components(mask, pixel, hue), frames.shape[2])


def count_balls(spots: Spots, frames: int) -> np.ndarray:
    """Counts the balls in each frame. Returns [F]."""
    return np.bincount(spots.frame, minlength=frames)[:frames]


def track_balls(spots: Spots, frames: int) -> list[Track]:
    """Returns one track per colour that is in enough frames, most frames first. Each frame uses the largest spot."""
    tracks = []
    for index, colour in enumerate(HUES):
        mine = np.flatnonzero(spots.colour == index)
        if len(np.unique(spots.frame[mine])) < max(SEEN_SHARE * frames, 2):
            continue
        mine = mine[np.argsort(spots.area[mine])]  # larger spots overwrite smaller ones below
        centre, radius = np.full((frames, 2), np.nan), np.full(frames, np.nan)
        centre[spots.frame[mine]], radius[spots.frame[mine]] = spots.centre[mine], spots.radius[mine]
        tracks.append(Track(colour, centre, radius))
    return sorted(tracks, key=lambda track: -track.seen.sum())


def _components(mask: np.ndarray, pixel: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Labels each coloured pixel with its spot, by spreading the smallest label over neighbours of similar hue."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(pixel.shape[1])
    labels = np.arange(pixel.shape[1])
    a, b = np.concatenate([_neighbours(number, dy, dx) for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1))], 1)
    alike = (hue[a] * hue[b].conj()).real > SAME_HUE
    a, b = a[alike], b[alike]
    while (labels[a] != labels[b]).any():
        least = np.minimum(labels[a], labels[b])
        np.minimum.at(labels, labels[a], least)
        np.minimum.at(labels, labels[b], least)
        labels = labels[labels]
    return np.unique(labels, return_inverse=True)[1]


def _neighbours(number: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Returns the pairs of coloured pixels of one frame that are (dy, dx) apart, [2, pairs]."""
    height, width = number.shape[1:]
    left, right = max(-dx, 0), width - max(dx, 0)
    a = number[:, : height - dy, left:right]
    b = number[:, dy:, left + dx : right + dx]
    both = (a >= 0) & (b >= 0)
    return np.stack([a[both], b[both]])


def _measure_spots(pixel: np.ndarray, chroma: np.ndarray, hue: np.ndarray, spot: np.ndarray, width: int) -> Spots:
    frame, y, x = pixel
    n = int(spot.max()) + 1 if len(spot) else 0
    weight = np.minimum(chroma / FULL, 1)
    area = np.bincount(spot, weight, n)
    peak, extent = np.zeros(n), np.zeros(n)
    np.maximum.at(peak, spot, chroma)
    for along in (x, y):
        low, high = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(low, spot, along)
        np.maximum.at(high, spot, along)
        extent += high - low + 1
    centre = np.stack([np.bincount(spot, weight * (along + 0.5), n) for along in (x, y)], -1)
    mean_hue = np.bincount(spot, chroma * hue.real, n) + 1j * np.bincount(spot, chroma * hue.imag, n)
    ball = (area >= SMALLEST_AREA * width**2) & (peak >= VIVID)
    first = np.zeros(n, int)
    first[spot] = frame
    return Spots(
        frame=first[ball],
        centre=centre[ball] / area[ball, None] / width,
        radius=extent[ball] / 4 / width,
        area=area[ball] / width**2,
        hue=mean_hue[ball] / np.maximum(np.abs(mean_hue[ball]), 1e-6),
        colour=_nearest_colour(mean_hue[ball]),
    )


def _nearest_colour(hue: np.ndarray) -> np.ndarray:
    named = np.exp(1j * np.radians(list(HUES.values())))
    return (hue[:, None] / np.maximum(np.abs(hue[:, None]), 1e-6) * named.conj()).real.argmax(1)
