"""One-to-one matching of two lists of events, and what follows from it: misses, F1, signed offset.

An event metric, not lip-sync: it says how many contacts seen have an onset heard at the same time, and the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1 / 16  # seconds: one frame of a 16 fps clip


@dataclass(frozen=True)
class Matching:
    """`pairs` [M, 2]: indices into the two sorted lists; `offsets` [M]: second minus first, in seconds."""

    pairs: np.ndarray
    offsets: np.ndarray
    first: int
    second: int

    @property
    def counts(self) -> np.ndarray:
        """[3]: matches, events of the first list, events of the second."""
        return np.array([len(self.pairs), self.first, self.second])

    @property
    def missed(self) -> int:
        """Events of the first list without a partner."""
        return self.first - len(self.pairs)

    @property
    def spurious(self) -> int:
        """Events of the second list without a partner."""
        return self.second - len(self.pairs)


def match(first: Iterable[float], second: Iterable[float], tolerance: float = TOLERANCE) -> Matching:
    """Pair as many events as can be within `tolerance` seconds; of such pairings, the one with the least total |offset|.

    Times are finite seconds in any order. On a line the best pairing crosses nowhere, so a table over prefixes finds it.
    """
    a, b = np.sort(np.asarray(list(first), float)), np.sort(np.asarray(list(second), float))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("event times are not all finite; leave out the unused ones")
    pairs = np.array(_all_pairs(a, b, tolerance + 1e-9), int).reshape(-1, 2)
    return Matching(pairs, b[pairs[:, 1]] - a[pairs[:, 0]], len(a), len(b))


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 of [..., 3] counts (matches, first, second); 1 where both lists are empty, for then nothing is wrong."""
    matches, first, second = np.moveaxis(np.asarray(counts, float), -1, 0)
    total = first + second
    return np.where(total > 0, 2 * matches / np.maximum(total, 1), 1.0)


def median_offset_ms(matchings: Iterable[Matching]) -> float:
    """Median of second minus first over all pairs, in milliseconds; NaN where nothing matched."""
    offsets = [m.offsets for m in matchings if len(m.offsets)]
    return 1000 * float(np.median(np.concatenate(offsets))) if offsets else float("nan")


def _all_pairs(a: np.ndarray, b: np.ndarray, tolerance: float) -> list[tuple[int, int]]:
    """Group by group: across a silence longer than `tolerance` nothing pairs, so the tables stay small."""
    times = np.sort(np.concatenate([a, b]))
    begins = times[np.diff(times, prepend=-np.inf) > tolerance]
    i, j = (np.append(np.searchsorted(each, begins), len(each)).tolist() for each in (a, b))
    pairs = []
    for k in range(len(begins)):
        if i[k] < i[k + 1] and j[k] < j[k + 1]:
            group = _pairs(a[i[k] : i[k + 1]].tolist(), b[j[k] : j[k + 1]].tolist(), tolerance)
            pairs += [(i[k] + x, j[k] + y) for x, y in group]
    return pairs


def _pairs(a: list[float], b: list[float], tolerance: float) -> list[tuple[int, int]]:
    """best[i][j]: (pairs, −total offset) of a[:i] and b[:j]; walked back from the end."""
    best = [[(0, 0.0)] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            score = max(best[i][j + 1], best[i + 1][j])
            if abs(y - x) <= tolerance:
                n, offset = best[i][j]
                score = max(score, (n + 1, offset - abs(y - x)))
            best[i + 1][j + 1] = score
    pairs, i, j = [], len(a), len(b)
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
