"""How sure a figure is: 95 % intervals over clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .matching import f1

RESAMPLES = 2000
Z95 = 1.959963984540054


def bootstrap_interval(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of `statistic`, which maps sums over clips [..., K] to figures [...].

    `rows` [N, K], a row per clip. NaN, NaN where there is no clip.
    """
    rows = np.asarray(rows, float)
    if not len(rows):
        return float("nan"), float("nan")
    times = draw_resamples(len(rows), np.random.default_rng(seed), resamples)
    low, high = np.percentile(statistic(times @ rows), [2.5, 97.5])
    return float(low), float(high)


def draw_resamples(n: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of `n` is drawn when `n` are drawn with replacement, [resamples, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), resamples)


def f1_interval(counts: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Interval of the micro-averaged F1 of `counts` [N, 3] (matches, first, second)."""
    return bootstrap_interval(counts, f1, seed=seed)


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of `values` [N]."""
    values = np.asarray(values, float)
    rows = np.stack([values, np.ones_like(values)], -1)
    return bootstrap_interval(rows, lambda sums: sums[..., 0] / sums[..., 1], seed=seed)


def mean_and_interval(values: np.ndarray) -> tuple[float, list[float]]:
    """The mean of `values` [N] and its interval, to four digits."""
    return round(float(np.mean(values)), 4), [round(v, 4) for v in mean_interval(values)]


def median_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the median of `values` [N]; NaN, NaN where there is none."""
    values = np.asarray(values, float)
    if not len(values):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], 1), [2.5, 97.5])
    return float(low), float(high)


def proportion_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion; NaN, NaN where nothing was tried."""
    if trials == 0:
        return float("nan"), float("nan")
    p, z = successes / trials, Z95
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def share_and_interval(right: Sequence[bool]) -> dict[str, Any]:
    """How many are right, {"share": …, "ci": [low, high]}, to four digits."""
    ci = proportion_interval(sum(right), len(right))
    return {"share": round(float(np.mean(right)), 4), "ci": [round(float(v), 4) for v in ci]}
