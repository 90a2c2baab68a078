"""When something is heard in sound of any length: `onsets`, piece by piece.

A piece has its own level of silence, so a quiet minute after a loud one is heard too. Onsets are strikes: a sudden rise
in many bands. Speech and slow swells have few.
"""

from __future__ import annotations

import numpy as np

from .onsets import detect_onsets

PIECE, OVERLAP = 20.0, 0.5  # seconds
ENVELOPE = 0.01  # seconds


def mix_down(waveform) -> np.ndarray:
    """[channels, samples] to mono [samples], without its DC offset; NaN and infinity become silence."""
    mono = np.nan_to_num(np.asarray(waveform, np.float32), nan=0.0, posinf=0.0, neginf=0.0).mean(0)
    return mono - mono.mean() if mono.size else mono


def find_sound_events(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """Times in seconds, sorted, of the onsets in `mono` [samples]."""
    piece, overlap = round(PIECE * sample_rate), round(OVERLAP * sample_rate)
    found = []
    for begin in range(0, len(mono), piece):
        first = max(0, begin - overlap)
        at = detect_onsets(mono[first : begin + piece + overlap], sample_rate) + first / sample_rate
        found.append(at[(at >= begin / sample_rate) & (at < (begin + piece) / sample_rate)])
    return np.concatenate(found) if found else np.zeros(0)


def envelope(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """Largest absolute value in every ENVELOPE seconds, [N]."""
    if not len(mono):
        return np.zeros(0)
    begins = np.arange(0, len(mono), ENVELOPE * sample_rate).astype(int)
    return np.maximum.reduceat(np.abs(mono), np.unique(begins))
