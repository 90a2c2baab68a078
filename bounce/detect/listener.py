"""Classifies the material and size of balls from the audio of a clip.

The features of a strike are band levels (20 bands of equal frequency ratio) of the energy that its first and second 60 ms
add to the energy before it. The classifier is a linear discriminant (Fisher 1936, shrunk covariance) over the eight kinds
of ball. `python -m duet_av.bounce.detect.fit_listener` fitted it on simulated clips of the training split; its parameters
are in `listener.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
from torch import Tensor

MATERIALS = ("metal", "wood", "glass", "rubber")
SIZES = ("small", "large")
KINDS = tuple((material, size) for material in MATERIALS for size in SIZES)

PARAMETERS = Path(__file__).with_name("listener.json")
START, LENGTH = 0.004, 0.060  # seconds: windows begin after the click, and two of them end before the next strike
BANDS, LOWEST_HZ, HIGHEST_HZ = 20, 85.0, 7600.0
RANGE_DB = 25.0
SHRINKAGE = 0.3
CLEAR = 2.5  # ratio of added to previous energy, in the loudest band, at which the weight of a strike reaches 1
LEAST_LIKELY = -20.0  # lower bound of a log-likelihood, so that no single strike dominates
ANOTHER_BALL = 6.0  # gain in log-likelihood that a second kind of ball must reach


@dataclass(frozen=True)
class Discriminant:
    """A linear classifier over KINDS. Calling it returns log-probabilities: log_softmax(features @ weight + bias)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        scores = features @ self.weight + self.bias
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def strike_features(waveform: np.ndarray | Tensor, sample_rate: int, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the features [K, 2·BANDS] and weights [K] of strikes at `times` in seconds.

    waveform: [channels, samples] or [samples]. The features are the relative levels of the added energy, early and late.
    A strike that adds little energy to the previous sound is less reliable, and its weight is below 1.
    """
    wave = np.asarray(waveform, np.float32)
    wave = wave.mean(0) if wave.ndim == 2 else wave
    length = round(LENGTH * sample_rate)
    padded = np.pad(wave, (length, 3 * length))
    rows, weights = [], []
    for time in times:
        at = length + round(time * sample_rate)
        after = at + round(START * sample_rate)
        before, early, late = (_bands(padded[s : s + length], sample_rate) for s in (at - length, after, after + length))
        added = np.stack([np.maximum(early - before, 0), np.maximum(late - before, 0)])
        loudest = added[0].max() + 1e-12
        rows.append(np.maximum(10 * np.log10(added / loudest + 1e-12), -RANGE_DB).ravel() / RANGE_DB + 1)
        weights.append(min(loudest / (CLEAR * before.max() + 1e-12), 1) ** 2)
    return np.array(rows).reshape(len(rows), 2 * BANDS), np.array(weights)


def classify_strikes(
    waveform: np.ndarray | Tensor, sample_rate: int, times: Sequence[float], balls: int = 2
) -> list[tuple[str, str]]:
    """Finds the kinds (material, size) of at most `balls` balls that best explain all strikes at `times` in seconds.

    Each strike is assigned to the best-fitting of the selected kinds. A second kind must increase the total
    log-likelihood by ANOTHER_BALL. Two balls of the same kind give one kind. Without strikes, the list is empty.
    """
    if not len(times) or balls < 1:
        return []
    features, weight = strike_features(waveform, sample_rate, times)
    likelihood = np.maximum(load_discriminant()(features), LEAST_LIKELY) * weight[:, None]
    best, chosen = -np.inf, ()
    for number in range(1, min(balls, len(times)) + 1):
        for kinds in combinations(range(len(KINDS)), number):
            total = likelihood[:, kinds].max(1).sum() - ANOTHER_BALL * number
            if total > best:
                best, chosen = total, kinds
    return [KINDS[k] for k in chosen]


def fit_discriminant(features: np.ndarray, kind: np.ndarray) -> Discriminant:
    """Fits a linear discriminant with equal priors to `features` [N, D]; `kind` [N] are indices into KINDS."""
    means = np.stack([features[kind == k].mean(0) for k in range(len(KINDS))])
    centred = features - means[kind]
    covariance = centred.T @ centred / len(features)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weight = np.linalg.solve(covariance, means.T)
    return Discriminant(weight, -0.5 * np.einsum("kd,dk->k", means, weight))


@lru_cache(maxsize=1)
def load_discriminant() -> Discriminant:
    """Loads the fitted parameters from `listener.json`."""
    numbers = json.loads(PARAMETERS.read_text())
    return Discriminant(np.array(numbers["weight"]), np.array(numbers["bias"]))


def _bands(piece: np.ndarray, sample_rate: int) -> np.ndarray:
    """Computes the energies of one windowed piece in overlapping triangular bands of equal frequency ratio, [BANDS]."""
    size = 4 * len(piece)
    power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), size)) ** 2
    return _triangles(size, sample_rate) @ power


@lru_cache(maxsize=4)
def _triangles(size: int, sample_rate: int) -> np.ndarray:
    hertz = np.maximum(np.fft.rfftfreq(size, 1 / sample_rate), 1e-3)
    step = np.log(HIGHEST_HZ / LOWEST_HZ) / (BANDS - 1)
    distance = np.log(hertz / LOWEST_HZ)[None, :] / step - np.arange(BANDS)[:, None]
    return np.maximum(1 - np.abs(distance), 0)
