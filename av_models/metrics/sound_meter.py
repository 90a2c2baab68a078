"""Measure audio that arrives in pieces, at constant memory: level, faults, onsets and envelope."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .health import HealthMeter, SoundHealth
from .sound_events import OnsetMeter

PIECE = 30  # seconds: longer pieces are divided
LARGEST = 1e6  # larger values count as infinite, because their squares would be


class SoundMeter:
    """Measures audio that arrives in pieces; it keeps less than a minute."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._health, self._onsets = HealthMeter(sample_rate), OnsetMeter(sample_rate)

    @property
    def samples(self) -> int:
        """Number of samples per channel so far."""
        return self._health.samples

    def add(self, waveform: Tensor) -> None:
        """Add the next samples, float [channels, samples]. NaN and infinity count as 0."""
        for piece in waveform.split(PIECE * self.sample_rate, dim=1):
            if piece.shape[1]:
                self._add(piece.detach().float().cpu().numpy())

    def _add(self, wave: np.ndarray) -> None:
        finite = np.abs(wave) < LARGEST  # False for NaN
        broken = wave.size - int(finite.sum())
        wave = np.where(finite, wave, np.float32(0)) if broken else wave
        self._health.add(wave, broken)
        self._onsets.add(wave.mean(0))

    def finish(self, video_samples: int) -> tuple[SoundHealth, np.ndarray, np.ndarray]:
        """Return the health, the onset times in seconds (none when the audio is silent) and the envelope of at least one sample.

        video_samples: the duration of the video in samples.
        """
        health = self._health.finish(video_samples)
        onsets, envelope = self._onsets.finish()
        return health, np.zeros(0) if health.silent else onsets, envelope
