"""Detect faults of an audio track: silence, DC offset, clipping, NaN, and a duration that differs from the video's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .loudness import LoudnessMeter

FULL_SCALE = 1 - 1 / 32768  # the largest value that 16 bits hold
SILENCE_PEAK_DB = -60.0  # dBFS: audio with a lower peak is silent
MAX_DC, MAX_CLIPPED = 0.01, 1e-4  # a DC offset, and a fraction of samples at full scale, from which there is a warning
MAX_SURPLUS_MS = 1.0  # a difference in duration from which there is a warning


@dataclass(frozen=True)
class SoundHealth:
    """Measurements of an audio track.

    samples: number of samples per channel. sample_rate: Hz.
    surplus: samples by which the audio is longer than the video; negative when it is shorter.
    peak_db: dBFS. loudness: LUFS. Both are −inf for silence.
    dc: mean of the channel with the largest absolute mean.
    clipped: fraction of values at or above full scale, 0..1.
    broken: number of NaN or infinite values; the other measurements treat them as 0.
    """

    samples: int
    sample_rate: int
    channels: int
    surplus: int
    peak_db: float
    loudness: float
    dc: float
    clipped: float
    broken: int

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.samples / self.sample_rate

    @property
    def surplus_ms(self) -> float:
        """`surplus` in milliseconds."""
        return 1000 * self.surplus / self.sample_rate

    @property
    def silent(self) -> bool:
        """Whether the peak is below −60 dBFS."""
        return self.peak_db < SILENCE_PEAK_DB

    def warnings(self) -> list[str]:
        """Return one line per fault."""
        found = []
        if self.broken:
            found.append(f"{self.broken} audio values are NaN or infinite")
        if self.silent:
            found.append("the audio is silent")
        if abs(self.dc) >= MAX_DC:
            found.append(f"the audio has a DC offset of {self.dc:+.3f}")
        if self.clipped >= MAX_CLIPPED:
            found.append(f"{100 * self.clipped:.2f} % of the audio samples are clipped (at full scale)")
        if abs(self.surplus_ms) >= MAX_SURPLUS_MS:
            than = "longer" if self.surplus > 0 else "shorter"
            found.append(f"the audio is {abs(self.surplus)} samples ({abs(self.surplus_ms):.0f} ms) {than} than the video")
        return found


class HealthMeter:
    """Measures audio that arrives in pieces."""

    def __init__(self, sample_rate: int) -> None:
        self._rate, self._loudness = sample_rate, LoudnessMeter(sample_rate)
        self.samples = self._broken = self._clipped = 0
        self._peak, self._means = 0.0, np.zeros(0)

    def add(self, waveform: np.ndarray, broken: int) -> None:
        """Add the next samples, [channels, samples], with `broken` values replaced by 0."""
        self.samples += waveform.shape[1]
        self._broken += broken
        level = np.abs(waveform)
        self._peak = max(self._peak, float(level.max()))
        self._clipped += int((level >= FULL_SCALE).sum())
        share = waveform.shape[1] / self.samples
        means = waveform.mean(1, dtype=np.float64)
        self._means = self._means + (means - self._means) * share if len(self._means) else means
        self._loudness.add(waveform)

    def finish(self, video_samples: int) -> SoundHealth:
        """Return the measurements. video_samples: the duration of the video in samples."""
        channels = len(self._means)
        return SoundHealth(
            samples=self.samples,
            sample_rate=self._rate,
            channels=channels,
            surplus=self.samples - video_samples,
            peak_db=20 * math.log10(self._peak) if self._peak else -math.inf,
            loudness=self._loudness.finish(),
            dc=float(self._means[np.abs(self._means).argmax()]),
            clipped=self._clipped / (self.samples * channels),
            broken=self._broken,
        )
