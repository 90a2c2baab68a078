"""Integrated loudness in LUFS (ITU-R BS.1770-4): mean K-weighted power of 400 ms blocks, gated at −70 LUFS and −10 LU.

Five and six channels are treated as 5.0 and 5.1 in file order (left, right, centre, low-frequency effects, surrounds). With
any other number, all channels have the weight 1. Audio shorter than a block is measured as one block.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

from .windows import Window, Windows

STEP, STEPS = 0.1, 4  # STEP: seconds between blocks; a block is STEPS steps long
CHUNK, WARM_UP = 300, 10  # steps filtered at a time, and steps before them in which the filters settle
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
OFFSET = -0.691  # dB: BS.1770-4, eq. 2
CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}


def measure_loudness(waveform: ArrayLike, sample_rate: int) -> float:
    """Return the loudness in LUFS of a waveform [channels, samples] in −1..1 without NaN; −inf for silence."""
    meter = LoudnessMeter(sample_rate)
    meter.add(np.asarray(waveform))
    return meter.finish()


class LoudnessMeter:
    """Measures the loudness of audio that arrives in pieces; it keeps at most one chunk."""

    def __init__(self, sample_rate: int) -> None:
        self._rate, self._step = sample_rate, round(STEP * sample_rate)
        self._windows = Windows(CHUNK * self._step, before=WARM_UP * self._step)
        self._steps: list[np.ndarray] = []  # the K-weighted mean squares of the steps of each chunk, [channels, steps]
        self._block: np.ndarray | None = None  # the one block of short audio, [channels, 1]

    def add(self, waveform: np.ndarray) -> None:
        """Add the next samples, [channels, samples], without NaN."""
        for window in self._windows.add(waveform):
            self._measure(window)

    def finish(self) -> float:
        """Return the loudness in LUFS; −inf for silence."""
        for window in self._windows.finish():
            self._measure(window)
        blocks = self._blocks()
        weights = _weights(len(blocks))
        power = np.asarray(sum(weight * channel for weight, channel in zip(weights, blocks) if weight))
        power = power[_lufs(power) > ABSOLUTE_GATE]
        if len(power):
            power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE]
        return float(_lufs(power.mean())) if len(power) else -math.inf

    def _measure(self, window: Window) -> None:
        samples = torch.from_numpy(window.samples)
        own = samples.shape[1] - window.lead
        if not window.begin and own < STEPS * self._step:
            self._block = self._squares(samples, own, 0)
        elif own >= self._step:
            self._steps.append(self._squares(samples, self._step, window.lead))

    def _squares(self, samples: torch.Tensor, step: int, lead: int) -> np.ndarray:
        """Return the K-weighted mean squares of the whole steps after `lead` samples, [channels, steps]; 0 without a weight."""
        steps = (samples.shape[1] - lead) // step
        squares = np.zeros((len(samples), steps))
        for index, weight in enumerate(_weights(len(samples))):
            if weight and steps:
                filtered = _k_weighted(samples[index].double(), self._rate)[lead:].unfold(0, step, step)
                squares[index] = filtered.square().mean(1).numpy()
        return squares

    def _blocks(self) -> np.ndarray:
        """Return the mean squares of all blocks, [channels, blocks]."""
        if self._block is not None:
            return self._block
        if not self._steps:
            return np.zeros((1, 0))
        steps = np.concatenate(self._steps, axis=1)
        return np.stack([np.convolve(channel, np.full(STEPS, 1 / STEPS), mode="valid") for channel in steps])


def _weights(channels: int) -> tuple[float, ...]:
    return CHANNEL_WEIGHTS.get(channels, (1,) * channels)


def _lufs(power: np.ndarray) -> np.ndarray:
    return OFFSET + 10 * np.log10(np.maximum(power, 1e-30))


def _k_weighted(wave: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Apply both filters of BS.1770-4, derived for `sample_rate` from the analogue prototypes of its 48 kHz coefficients."""
    from torchaudio.functional import lfilter

    for a, b in (_shelf(sample_rate), _high_pass(sample_rate)):
        wave = lfilter(wave, torch.tensor(a, dtype=wave.dtype), torch.tensor(b, dtype=wave.dtype), clamp=False)
    return wave


def _shelf(sample_rate: int) -> tuple[list[float], list[float]]:
    """Return the denominator and numerator of the high-shelf filter, +4 dB above 1.7 kHz."""
    k, q = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    a = [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    b = [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0]
    return a, b


def _high_pass(sample_rate: int) -> tuple[list[float], list[float]]:
    """Return the denominator and numerator of the high-pass filter at 38 Hz."""
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0], [1.0, -2.0, 1.0]
