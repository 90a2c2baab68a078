"""Detect faults of an audio track: silence, DC offset, clipping, NaN, and a duration that differs from the video's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .loudness import measure_loudness

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


def measure_sound_health(waveform: ArrayLike, sample_rate: int, video_samples: int) -> SoundHealth:
    """Measure a waveform [channels, samples] with at least one sample.

    sample_rate: Hz. video_samples: the duration of the video in samples at this rate.
    """
    wave = np.asarray(waveform)
    broken = int((~np.isfinite(wave)).sum())
    wave = np.nan_to_num(wave, nan=0.0, posinf=0.0, neginf=0.0) if broken else wave
    peak = float(np.abs(wave).max())
    means = wave.mean(1, dtype=np.float64)
    return SoundHealth(
        samples=wave.shape[1],
        sample_rate=sample_rate,
        channels=len(wave),
        surplus=wave.shape[1] - video_samples,
        peak_db=20 * math.log10(peak) if peak else -math.inf,
        loudness=measure_loudness(wave, sample_rate),
        dc=float(means[np.abs(means).argmax()]),
        clipped=float((np.abs(wave) >= FULL_SCALE).mean()),
        broken=broken,
    )
