"""95 % confidence intervals of measurements over clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .matching import f1

RESAMPLES = 2000  # bootstrap samples
Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def bootstrap_interval(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (Efron 1979) of a statistic of sums over clips.

    rows: [N, K], one row per clip. statistic: maps sums over clips [..., K] to values [...].
    Returns (low, high), or (NaN, NaN) when there are no clips.
    """
    rows = np.asarray(rows, float)
    if not len(rows):
        return float("nan"), float("nan")
    times = draw_resamples(len(rows), np.random.default_rng(seed), resamples)
    low, high = np.percentile(statistic(times @ rows), [2.5, 97.5])
    return float(low), float(high)


def draw_resamples(n: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Draw `n` of `n` items with replacement, `resamples` times; return the counts [resamples, n] of each item."""
    return rng.multinomial(n, np.full(n, 1 / n), resamples)


def f1_interval(counts: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the micro-averaged F1 for `counts` [N, 3] (matches, first, second; see `matching.f1`)."""
    return bootstrap_interval(counts, f1, seed=seed)


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of `values` [N]."""
    values = np.asarray(values, float)
    rows = np.stack([values, np.ones_like(values)], -1)
    return bootstrap_interval(rows, lambda sums: sums[..., 0] / sums[..., 1], seed=seed)


def mean_and_interval(values: np.ndarray) -> tuple[float, list[float]]:
    """Return the mean of `values` [N] and its interval [low, high], rounded to four digits."""
    return round(float(np.mean(values)), 4), [round(v, 4) for v in mean_interval(values)]


def median_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median of `values` [N]; (NaN, NaN) when N is 0."""
    values = np.asarray(values, float)
    if not len(values):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], 1), [2.5, 97.5])
    return float(low), float(high)


def proportion_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of `successes` out of `trials`, in 0..1; (NaN, NaN) when `trials` is 0."""
    if trials == 0:
        return float("nan"), float("nan")
    p, z = successes / trials, Z95
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def share_and_interval(right: Sequence[bool]) -> dict[str, Any]:
    """Return the fraction of True values and its interval, {"share": …, "ci": [low, high]}, rounded to four digits."""
    ci = proportion_interval(sum(right), len(right))
    return {"share": round(float(np.mean(right)), 4), "ci": [round(float(v), 4) for v in ci]}
