"""What is heard being struck: the material and size of each strike, and of a whole clip.

A strike's features are levels in bands of a third of an octave, in what its first and second 60 ms add to what rang
before. A linear discriminant (Fisher 1936, shrunk covariance) over the eight kinds of ball was fitted on true clips of
the training split by `python -m duet_av.bounce.detect.fit_listener`; its numbers are in `listener.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

MATERIALS = ("metal", "wood", "glass", "rubber")
SIZES = ("small", "large")
KINDS = tuple((material, size) for material in MATERIALS for size in SIZES)

PARAMETERS = Path(__file__).with_name("listener.json")
START, LENGTH = 0.004, 0.060  # seconds after the strike: past the click; two of these end before the next strike
BANDS, LOWEST_HZ, HIGHEST_HZ = 20, 85.0, 7600.0
RANGE_DB = 25.0
SHRINKAGE = 0.3
CLEAR = 2.5  # a strike that adds this many times what rang before, in the loudest band, is taken at its word
LEAST_LIKELY = -20.0  # so that no single strike decides everything
ANOTHER_BALL = 6.0  # log-likelihood that a second kind of ball must add to be heard


@dataclass(frozen=True)
class Discriminant:
    """Log-odds of each of KINDS: features @ weight + bias."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        scores = features @ self.weight + self.bias
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def strike_features(waveform, sample_rate: int, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Of strikes at `times` seconds: relative levels of what each adds, early and late, [K, 2·BANDS], and weights [K].

    A strike whose partials cancel those of the tail that it strikes over says little, and weighs less than 1.
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


def hear(waveform, sample_rate: int, times: Sequence[float], balls: int = 2) -> list[tuple[str, str]]:
    """The kinds (material, size) of the at most `balls` balls that best explain all strikes at `times`; none without.

    Every strike is taken for whichever of the chosen kinds fits it best; a second kind must improve the total
    log-likelihood by ANOTHER_BALL, so two balls alike, or one ball, are one kind.
    """
    if not len(times) or balls < 1:
        return []
    features, weight = strike_features(waveform, sample_rate, times)
    likelihood = np.maximum(discriminant()(features), LEAST_LIKELY) * weight[:, None]
    best, chosen = -np.inf, ()
    for number in range(1, min(balls, len(times)) + 1):
        for kinds in combinations(range(len(KINDS)), number):
            total = likelihood[:, kinds].max(1).sum() - ANOTHER_BALL * number
            if total > best:
                best, chosen = total, kinds
    return [KINDS[k] for k in chosen]


def fit_discriminant(features: np.ndarray, kind: np.ndarray) -> Discriminant:
    """Linear discriminant with equal priors of `features` [N, D] and indices into KINDS [N]."""
    means = np.stack([features[kind == k].mean(0) for k in range(len(KINDS))])
    centred = features - means[kind]
    covariance = centred.T @ centred / len(features)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weight = np.linalg.solve(covariance, means.T)
    return Discriminant(weight, -0.5 * np.einsum("kd,dk->k", means, weight))


@lru_cache(maxsize=1)
def discriminant() -> Discriminant:
    """The fitted one."""
    numbers = json.loads(PARAMETERS.read_text())
    return Discriminant(np.array(numbers["weight"]), np.array(numbers["bias"]))


def _bands(piece: np.ndarray, sample_rate: int) -> np.ndarray:
    """Energies of one windowed piece in overlapping triangular bands of equal ratio, [BANDS]."""
    size = 4 * len(piece)
    power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), size)) ** 2
    return _triangles(size, sample_rate) @ power


@lru_cache(maxsize=4)
def _triangles(size: int, sample_rate: int) -> np.ndarray:
    hertz = np.maximum(np.fft.rfftfreq(size, 1 / sample_rate), 1e-3)
    step = np.log(HIGHEST_HZ / LOWEST_HZ) / (BANDS - 1)
    distance = np.log(hertz / LOWEST_HZ)[None, :] / step - np.arange(BANDS)[:, None]
    return np.maximum(1 - np.abs(distance), 0)
