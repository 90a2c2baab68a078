"""Estimate a constant delay between video and audio, up to ±1 s, from event times alone.

It is the maximum of the cross-correlation of the two event trains: the lag at which most events match. A lag is returned only
when chance matches are unlikely and no other lag matches nearly as many events (regular events also match one period later).
"""

from __future__ import annotations

import math

import numpy as np

from .matching import match

MAX_LAG = 1.0  # seconds
MIN_MATCHES = 4
MIN_SIGMAS = 4.0  # standard deviations above the matches expected of unrelated events (Poisson)
MIN_FRACTION = 0.5  # of the shorter event list that must match
MAX_RIVAL = 0.75  # the estimate is ambiguous when another lag has more than this fraction of the matches


def estimate_lag(seen: np.ndarray, heard: np.ndarray, tolerance: float) -> float | None:
    """Return the seconds by which `heard` is late (negative: early), within ±MAX_LAG; None without a reliable estimate.

    seen, heard: sorted event times in seconds. tolerance: seconds within which two events match.
    """
    lags = np.sort(np.concatenate([np.zeros(0), *(_near(heard, time) - time for time in seen)]))
    if not len(lags):
        return None
    counts = _within(lags, lags, tolerance)
    most = lags[counts == counts.max()]
    best = most[np.abs(most).argmin()]
    near = lags[np.abs(lags - best) <= tolerance]
    best = float(np.median(near))
    return best if _is_reliable(seen, heard, lags, counts, best, tolerance) else None


def _near(heard: np.ndarray, time: float) -> np.ndarray:
    """Return the events within MAX_LAG of `time`."""
    first, last = np.searchsorted(heard, (time - MAX_LAG, time + MAX_LAG))
    return heard[first:last]


def _within(lags: np.ndarray, centres: np.ndarray, tolerance: float) -> np.ndarray:
    """Count the sorted `lags` within `tolerance` of each centre."""
    return np.searchsorted(lags, centres + tolerance, "right") - np.searchsorted(lags, centres - tolerance, "left")


def _is_reliable(seen: np.ndarray, heard: np.ndarray, lags: np.ndarray, counts: np.ndarray, best: float, tolerance: float) -> bool:
    """Whether enough events match at lag `best`, beyond chance, and clearly more than at any other lag."""
    matched = int(match(seen + best, heard, tolerance).counts[0])
    by_chance = max(len(lags) - matched, 0) * min(tolerance / MAX_LAG, 1.0)
    rivals = counts[np.abs(lags - best) > 2 * tolerance]
    return (
        matched >= max(MIN_MATCHES, MIN_FRACTION * min(len(seen), len(heard)), by_chance + MIN_SIGMAS * math.sqrt(by_chance))
        and rivals.max(initial=0) <= MAX_RIVAL * matched
    )
