"""Integrated loudness in LUFS (ITU-R BS.1770-4): mean K-weighted power of 400 ms blocks, gated at −70 LUFS and −10 LU.

Five and six channels are treated as 5.0 and 5.1 in file order (left, right, centre, low-frequency effects, surrounds). With
any other number, all channels have the weight 1. Audio shorter than a block is measured as one block.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

STEP, STEPS = 0.1, 4  # STEP: seconds between blocks; a block is STEPS steps long
CHUNK, WARM_UP = 300, 10  # steps filtered at a time, and steps before them in which the filters settle
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
OFFSET = -0.691  # dB: BS.1770-4, eq. 2
CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}


def measure_loudness(waveform: ArrayLike, sample_rate: int) -> float:
    """Return the loudness in LUFS of a waveform [channels, samples] in −1..1 without NaN; −inf for silence."""
    wave = torch.as_tensor(np.asarray(waveform))
    weights = CHANNEL_WEIGHTS.get(len(wave), (1,) * len(wave))
    power = np.asarray(sum(weight * _block_power(channel, sample_rate) for weight, channel in zip(weights, wave) if weight))
    power = power[_lufs(power) > ABSOLUTE_GATE]
    if len(power):
        power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE]
    return float(_lufs(power.mean())) if len(power) else -math.inf


def _lufs(power: np.ndarray) -> np.ndarray:
    return OFFSET + 10 * np.log10(np.maximum(power, 1e-30))


def _block_power(channel: torch.Tensor, sample_rate: int) -> np.ndarray:
    """Return the K-weighted mean square of every block, [blocks]."""
    step = round(STEP * sample_rate)
    if len(channel) < STEPS * step:
        return np.array([float(_k_weighted(channel.double(), sample_rate).square().mean())]) if len(channel) else np.zeros(0)
    steps = []
    for begin in range(0, len(channel) // step, CHUNK):
        first = max(0, begin - WARM_UP)
        filtered = _k_weighted(channel[first * step : (begin + CHUNK) * step].double(), sample_rate)
        whole = filtered[(begin - first) * step :].unfold(0, step, step)
        steps.append(whole.square().mean(1).numpy())
    return np.convolve(np.concatenate(steps), np.full(STEPS, 1 / STEPS), mode="valid")


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
