"""How much later than the picture a sound is, from the times of events alone, also when it is further off than a frame.

The cross-correlation of the two trains of events: at which lag do most of them meet? It is told only where that many
would hardly meet by chance, and no other lag does nearly as well (regular events fit a period later, too).
"""

from __future__ import annotations

import math

import numpy as np

from .matching import match

REACH = 1.0  # seconds: lags that are tried
FEWEST = 4  # events that must meet
SIGMAS = 4.0  # by how many standard deviations they are more than unrelated events (Poisson) would be
SHARE = 0.5  # of the rarer kind of events that must meet
RIVAL = 0.75  # another lag that does as well as this share of the best makes it a guess


def estimate_lag(seen: np.ndarray, heard: np.ndarray, tolerance: float) -> float | None:
    """Seconds by which `heard` is late (early: negative), within REACH; None where it cannot be told.

    Times sorted, in seconds; two events meet within `tolerance`.
    """
    lags = np.sort(np.concatenate([np.zeros(0), *(_near(heard, time) - time for time in seen)]))
    if not len(lags):
        return None
    counts = _within(lags, lags, tolerance)
    most = lags[counts == counts.max()]
    best = most[np.abs(most).argmin()]
    near = lags[np.abs(lags - best) <= tolerance]
    best = float(np.median(near))
    return best if _is_sure(seen, heard, lags, counts, best, tolerance) else None


def _near(heard: np.ndarray, time: float) -> np.ndarray:
    first, last = np.searchsorted(heard, (time - REACH, time + REACH))
    return heard[first:last]


def _within(lags: np.ndarray, centres: np.ndarray, tolerance: float) -> np.ndarray:
    return np.searchsorted(lags, centres + tolerance, "right") - np.searchsorted(lags, centres - tolerance, "left")


def _is_sure(seen, heard, lags, counts, best: float, tolerance: float) -> bool:
    met = int(match(seen + best, heard, tolerance).counts[0])
    by_chance = max(len(lags) - met, 0) * min(tolerance / REACH, 1.0)
    rivals = counts[np.abs(lags - best) > 2 * tolerance]
    return (
        met >= max(FEWEST, SHARE * min(len(seen), len(heard)), by_chance + SIGMAS * math.sqrt(by_chance))
        and rivals.max(initial=0) <= RIVAL * met
    )
