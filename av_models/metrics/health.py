"""What can be wrong with a sound: silence, DC offset, clipping, NaN, and a length that is not the picture's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .loudness import measure_loudness

FULL_SCALE = 1 - 1 / 32768  # the largest value that 16 bits hold
SILENCE_RMS = -60.0  # dBFS: a peak below is silence
DC, CLIPPED = 0.01, 1e-4  # a mean, and a share of samples at full scale, from which they are told


@dataclass(frozen=True)
class SoundHealth:
    """`samples` per channel; `surplus`: how many more than the picture has. `peak_db` in dBFS and `loudness` in LUFS,
    −inf for silence. `dc`: the mean of the worst channel; `clipped`: share of values at full scale or above.
    `broken`: values that are NaN or infinite; everything else takes them for 0.
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
        return self.samples / self.sample_rate

    @property
    def surplus_ms(self) -> float:
        return 1000 * self.surplus / self.sample_rate

    @property
    def silent(self) -> bool:
        return self.peak_db < SILENCE_RMS

    def warnings(self) -> list[str]:
        """A line for each thing that is wrong; a length within a millisecond of the picture's is right."""
        found = []
        if self.broken:
            found.append(f"{self.broken} values of the sound are NaN or infinite")
        if self.silent:
            found.append("the sound is silent")
        if abs(self.dc) >= DC:
            found.append(f"the sound has a DC offset of {self.dc:+.3f}")
        if self.clipped >= CLIPPED:
            found.append(f"{100 * self.clipped:.2f} % of the samples are at full scale: clipped")
        if abs(self.surplus_ms) >= 1:
            than = "longer" if self.surplus > 0 else "shorter"
            found.append(f"the sound is {abs(self.surplus)} samples ({abs(self.surplus_ms):.0f} ms) {than} than the picture")
        return found


def measure_sound_health(waveform, sample_rate: int, picture_samples: int) -> SoundHealth:
    """Of `waveform` [channels, samples], at least one sample, beside a picture that lasts `picture_samples`."""
    wave = np.asarray(waveform)
    broken = int((~np.isfinite(wave)).sum())
    wave = np.nan_to_num(wave, nan=0.0, posinf=0.0, neginf=0.0) if broken else wave
    peak = float(np.abs(wave).max())
    means = wave.mean(1, dtype=np.float64)
    return SoundHealth(
        samples=wave.shape[1],
        sample_rate=sample_rate,
        channels=len(wave),
        surplus=wave.shape[1] - picture_samples,
        peak_db=20 * math.log10(peak) if peak else -math.inf,
        loudness=measure_loudness(wave, sample_rate),
        dc=float(means[np.abs(means).argmax()]),
        clipped=float((np.abs(wave) >= FULL_SCALE).mean()),
        broken=broken,
    )
