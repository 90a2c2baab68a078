"""One-to-one matching of two lists of event times, with the metrics based on it: misses, F1, signed offset.

It measures how many visual events have an audio event at the same time, and the reverse. It does not measure lip-sync.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1 / 16  # seconds: one frame of a 16 fps clip


@dataclass(frozen=True)
class Matching:
    """Matched events of two lists.

    pairs: [M, 2] indices into the two sorted lists. offsets: [M] second minus first time, in seconds.
    first, second: number of events in each list.
    """

    pairs: np.ndarray
    offsets: np.ndarray
    first: int
    second: int

    @property
    def counts(self) -> np.ndarray:
        """[3]: number of matches, of events in the first list, of events in the second list."""
        return np.array([len(self.pairs), self.first, self.second])

    @property
    def missed(self) -> int:
        """Number of unmatched events in the first list."""
        return self.first - len(self.pairs)

    @property
    def spurious(self) -> int:
        """Number of unmatched events in the second list."""
        return self.second - len(self.pairs)


def match(first: Iterable[float], second: Iterable[float], tolerance: float = TOLERANCE) -> Matching:
    """Match as many events as possible within `tolerance` seconds, with the smallest total |offset|.

    first, second: times in seconds, in any order. The optimal pairs never cross, so dynamic programming over prefixes
    finds them. Raises ValueError for NaN or infinite times.
    """
    a, b = np.sort(np.asarray(list(first), float)), np.sort(np.asarray(list(second), float))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("event times contain NaN or infinity; give finite times in seconds")
    pairs = np.array(_all_pairs(a, b, tolerance + 1e-9), int).reshape(-1, 2)
    return Matching(pairs, b[pairs[:, 1]] - a[pairs[:, 0]], len(a), len(b))


def f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 [...] for counts [..., 3] (matches, first, second), in 0..1; 1 where both lists are empty."""
    matches, first, second = np.moveaxis(np.asarray(counts, float), -1, 0)
    total = first + second
    return np.where(total > 0, 2 * matches / np.maximum(total, 1), 1.0)


def median_offset_ms(matchings: Iterable[Matching]) -> float:
    """Return the median of second minus first time over all pairs, in milliseconds; NaN when there are no pairs."""
    offsets = [m.offsets for m in matchings if len(m.offsets)]
    return 1000 * float(np.median(np.concatenate(offsets))) if offsets else float("nan")


def _all_pairs(a: np.ndarray, b: np.ndarray, tolerance: float) -> list[tuple[int, int]]:
    """Match each group of events separately. Events more than `tolerance` apart never match, so the tables stay small."""
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
    """Dynamic programming: best[i][j] is (pairs, −total offset) for a[:i] and b[:j]; backtrack from the end."""
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
