"""Integrated loudness by ITU-R BS.1770-4, in LUFS: K-weighted power of 400 ms blocks, gated at −70 LUFS and 10 LU below.

Five and six channels are taken for 5.0 and 5.1 in the order of files (left, right, centre, low-frequency effects, surrounds);
any other number counts all alike. Sound shorter than a block is one block of its own length.
"""

from __future__ import annotations

import math

import numpy as np
import torch

STEP, STEPS = 0.1, 4  # seconds; a block is four steps, overlapping its neighbour by three
PIECE, WARM_UP = 300, 10  # steps filtered at a time, and steps before them in which the filters settle
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
OFFSET = -0.691  # dB
WEIGHTS = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}


def measure_loudness(waveform, sample_rate: int) -> float:
    """LUFS of `waveform` [channels, samples] in −1..1, finite; −inf for silence."""
    wave = torch.as_tensor(np.asarray(waveform))
    weights = WEIGHTS.get(len(wave), (1,) * len(wave))
    power = sum(weight * _block_power(channel, sample_rate) for weight, channel in zip(weights, wave) if weight)
    power = power[_lufs(power) > ABSOLUTE_GATE]
    if len(power):
        power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE]
    return float(_lufs(power.mean())) if len(power) else -math.inf


def _lufs(power):
    return OFFSET + 10 * np.log10(np.maximum(power, 1e-30))


def _block_power(channel: torch.Tensor, sample_rate: int) -> np.ndarray:
    """K-weighted mean square of every block."""
    step = round(STEP * sample_rate)
    if len(channel) < STEPS * step:
        return np.array([float(_k_weighted(channel.double(), sample_rate).square().mean())]) if len(channel) else np.zeros(0)
    steps = []
    for begin in range(0, len(channel) // step, PIECE):
        first = max(0, begin - WARM_UP)
        filtered = _k_weighted(channel[first * step : (begin + PIECE) * step].double(), sample_rate)
        whole = filtered[(begin - first) * step :].unfold(0, step, step)
        steps.append(whole.square().mean(1).numpy())
    return np.convolve(np.concatenate(steps), np.full(STEPS, 1 / STEPS), mode="valid")


def _k_weighted(wave: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Both of the recommendation's filters, from the analogue ones that its 48 kHz coefficients are made of."""
    from torchaudio.functional import lfilter

    for a, b in (_shelf(sample_rate), _high_pass(sample_rate)):
        wave = lfilter(wave, torch.tensor(a, dtype=wave.dtype), torch.tensor(b, dtype=wave.dtype), clamp=False)
    return wave


def _shelf(sample_rate: int) -> tuple[list[float], list[float]]:
    """Denominator and numerator of the high shelf, +4 dB above 1.7 kHz."""
    k, q = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    a = [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    b = [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0]
    return a, b


def _high_pass(sample_rate: int) -> tuple[list[float], list[float]]:
    """Denominator and numerator of the high pass at 38 Hz."""
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0], [1.0, -2.0, 1.0]
