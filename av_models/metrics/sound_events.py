"""Detect onsets in audio of any length, in segments of 20 s (see `onsets`).

Each segment has its own silence threshold, so onsets in a quiet part after a loud one are detected too. Onsets are sudden rises
in many bands; speech and slow swells have few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .onsets import detect_onsets

SEGMENT, OVERLAP = 20.0, 0.5  # seconds
ENVELOPE = 0.01  # seconds per value of the envelope


def mix_down(waveform: ArrayLike) -> np.ndarray:
    """Mix [channels, samples] to mono [samples] and remove the DC offset; NaN and infinity become 0."""
    mono = np.nan_to_num(np.asarray(waveform, np.float32), nan=0.0, posinf=0.0, neginf=0.0).mean(0)
    return mono - mono.mean() if mono.size else mono


def find_sound_events(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the onset times [N] in seconds, sorted, of `mono` [samples]."""
    segment, overlap = round(SEGMENT * sample_rate), round(OVERLAP * sample_rate)
    found = []
    for begin in range(0, len(mono), segment):
        first = max(0, begin - overlap)
        at = detect_onsets(mono[first : begin + segment + overlap], sample_rate) + first / sample_rate
        found.append(at[(at >= begin / sample_rate) & (at < (begin + segment) / sample_rate)])
    return np.concatenate(found) if found else np.zeros(0)


def envelope(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the largest absolute value of `mono` [samples] in every ENVELOPE seconds, [N]."""
    if not len(mono):
        return np.zeros(0)
    begins = np.arange(0, len(mono), ENVELOPE * sample_rate).astype(int)
    return np.maximum.reduceat(np.abs(mono), np.unique(begins))
