"""Detect onsets in audio of any length, in segments of 20 s (see `onsets`).

Each segment has its own silence threshold, so onsets in a quiet part after a loud one are detected too. Onsets are sudden rises
in many bands; speech and slow swells have few.
"""

from __future__ import annotations

import numpy as np

from .onsets import detect_onsets
from .windows import Window, Windows

SEGMENT, OVERLAP = 20.0, 0.5  # seconds
ENVELOPE = 0.01  # seconds per value of the envelope


class OnsetMeter:
    """Measures mono audio that arrives in pieces; it keeps at most one segment. The DC offset is removed."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        overlap = round(OVERLAP * sample_rate)
        self._windows = Windows(round(SEGMENT * sample_rate), before=overlap, after=overlap)
        self._onsets: list[np.ndarray] = []
        self._low: list[np.ndarray] = []  # of each segment: the smallest value in every ENVELOPE seconds
        self._high: list[np.ndarray] = []
        self._mean, self._samples = np.float32(0), 0

    def add(self, mono: np.ndarray) -> None:
        """Add the next samples, [samples], without NaN."""
        for window in self._windows.add(mono[None]):
            self._measure(window)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the onset times [N] in seconds, sorted, and the largest absolute value in every ENVELOPE seconds, [M]."""
        for window in self._windows.finish():
            self._measure(window)
        if not self._onsets:
            return np.zeros(0), np.zeros(0)
        low, high = (np.concatenate(each) - self._mean for each in (self._low, self._high))
        return np.concatenate(self._onsets), np.maximum(-low, high)

    def _measure(self, window: Window) -> None:
        mono, rate = window.samples[0], self._rate
        at = detect_onsets(mono - mono.mean(), rate) + (window.begin - window.lead) / rate
        self._onsets.append(at[(at >= window.begin / rate) & (at < (window.begin + self._windows.length) / rate)])
        own = mono[window.lead :][: self._windows.length]
        begins = np.unique(np.arange(0, len(own), ENVELOPE * rate).astype(int))
        self._low.append(np.minimum.reduceat(own, begins))
        self._high.append(np.maximum.reduceat(own, begins))
        self._samples += len(own)
        self._mean += (own.mean() - self._mean) * np.float32(len(own) / self._samples)
