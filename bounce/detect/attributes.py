"""Which balls a clip shows and sounds: colours, sizes, number, materials. Nothing here knows what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...av_models.metrics.onsets import onsets
from .balls import Track, ball_count, find_spots, follow
from .contacts import contacts, residual
from .listener import hear

LARGE_RADIUS = 6.2 / 64  # widths: between the largest small ball and the smallest large one, as they are measured


@dataclass(frozen=True)
class Observation:
    """What is seen and heard in one clip. Times in seconds; `residual` in widths, per ball and frame, pooled.

    `seen`: (colour, size) of each ball, the most often seen first; `heard`: (material, size) of each kind of strike.
    `counts` [F]: balls in each frame.
    """

    contacts: np.ndarray
    onsets: np.ndarray
    seen: list[tuple[str, str]]
    heard: list[tuple[str, str]]
    counts: np.ndarray
    residual: np.ndarray

    @property
    def count(self) -> int:
        """Balls in most of the frames."""
        return int(np.bincount(self.counts).argmax())


def observe(frames, waveform, sample_rate: int, fps: float) -> Observation:
    """Look at `frames` [F, H, W, 3] in 0..1 and listen to `waveform` [channels, samples]."""
    spots = find_spots(frames)
    tracks = follow(spots, len(frames))
    struck = onsets(waveform, sample_rate)
    return Observation(
        contacts=contacts(tracks, fps),
        onsets=struck,
        seen=[(track.colour, size_of(track)) for track in tracks],
        heard=hear(waveform, sample_rate, struck),
        counts=ball_count(spots, len(frames)),
        residual=np.concatenate([np.zeros(0), *(residual(track, fps) for track in tracks)]),
    )


def size_of(track: Track) -> str:
    """The size word of a ball by its median radius."""
    return "large" if np.nanmedian(track.radius) > LARGE_RADIUS else "small"
