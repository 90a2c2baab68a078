"""Detects the attributes of a clip: colours, sizes and number of balls from the frames, materials and sizes from the audio.

The prompt is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...av_models.metrics.onsets import detect_onsets
from .balls import Track, count_balls, find_spots, track_balls
from .contacts import find_contacts, path_residuals
from .listener import classify_strikes

LARGE_RADIUS = 6.2 / 64  # frame widths: between the largest small ball and the smallest large ball, as measured


@dataclass(frozen=True)
class Observation:
    """The detections of one clip.

    contacts: times in seconds of contacts in the frames. onsets: times in seconds of onsets in the audio.
    seen: (colour, size) of each ball, most frames first. heard: (material, size) of each kind of ball in the audio.
    counts: [F], number of balls per frame.
    residual: distances to the fitted ballistic path in frame widths, of all balls and frames.
    """

    contacts: np.ndarray
    onsets: np.ndarray
    seen: list[tuple[str, str]]
    heard: list[tuple[str, str]]
    counts: np.ndarray
    residual: np.ndarray

    @property
    def count(self) -> int:
        """The most frequent number of balls per frame."""
        return int(np.bincount(self.counts).argmax())


def observe(frames: np.ndarray | Tensor, waveform: np.ndarray | Tensor, sample_rate: int, fps: float) -> Observation:
    """Runs all detectors on `frames` [F, H, W, 3] in 0..1 and `waveform` [channels, samples].

    Raises ValueError if `frames` has another shape.
    """
    spots = find_spots(frames)
    tracks = track_balls(spots, len(frames))
    onset_times = detect_onsets(waveform, sample_rate)
    return Observation(
        contacts=find_contacts(tracks, fps),
        onsets=onset_times,
        seen=[(track.colour, classify_size(track)) for track in tracks],
        heard=classify_strikes(waveform, sample_rate, onset_times),
        counts=count_balls(spots, len(frames)),
        residual=np.concatenate([np.zeros(0), *(path_residuals(track, fps) for track in tracks)]),
    )


def classify_size(track: Track) -> str:
    """Returns "small" or "large" from the median radius."""
    return "large" if np.nanmedian(track.radius) > LARGE_RADIUS else "small"
