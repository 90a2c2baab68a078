"""Events seen against events heard: which meet within a frame, how often they would by chance, and how far they are off.

Chance is what is left when the sound is turned round in time: the mean F1 over SHIFTS circular shifts, evenly spaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .matching import Matching, f1, match, median_offset_ms
from .offset import estimate_lag

SHIFTS = 64
FINEST = 0.016  # seconds: the window in which onsets are heard; at more than 62 fps a frame is less
NOTICED_MS = 45.0  # sound this early is noticed (ITU-R BT.1359-1; late, only from 125 ms)


@dataclass(frozen=True)
class Sync:
    """`seen`, `heard`: times in seconds, sorted, where both could be observed: `begin` .. `end`.

    `matching`: of the two as they are, within `tolerance` seconds. `lag`: seconds by which all that is heard is late,
    None where that cannot be told.
    """

    seen: np.ndarray
    heard: np.ndarray
    begin: float
    end: float
    tolerance: float
    matching: Matching
    lag: float | None

    @property
    def f1(self) -> float | None:
        """None where nothing is seen and nothing heard."""
        return float(f1(self.matching.counts)) if len(self.seen) + len(self.heard) else None

    @cached_property
    def chance(self) -> float | None:
        """F1 of the same events, shifted in time."""
        if self.f1 is None:
            return None
        length = self.end - self.begin
        shifts = length * np.arange(1, SHIFTS + 1) / (SHIFTS + 1)
        turned = [match(self.seen, (self.heard - self.begin + shift) % length + self.begin, self.tolerance) for shift in shifts]
        return float(np.mean([f1(each.counts) for each in turned]))

    @cached_property
    def offset_ms(self) -> float | None:
        """How much later the sound is than the picture, the median of what meets at `lag`; None where nothing does."""
        shift = self.lag or 0.0
        offset = median_offset_ms([match(self.seen + shift, self.heard, self.tolerance)]) + 1000 * shift
        return None if np.isnan(offset) else offset

    @property
    def advice_ms(self) -> float | None:
        """What to shift the sound by, negative for earlier; None where it fits, or it is not sure that it does not."""
        if self.lag is None or abs(self.offset_ms) <= max(NOTICED_MS, 1000 * self.tolerance):
            return None
        return -self.offset_ms


def measure_sync(seen: np.ndarray, heard: np.ndarray, fps: float, end: float) -> Sync:
    """Of a clip whose picture and sound both last until `end`, in seconds.

    What is heard in the first frame is left out: an event is seen as a change from the frame before.
    """
    begin, tolerance = 1 / fps, max(1 / fps, FINEST)
    seen, heard = (np.sort(times[(times >= begin - 1e-6) & (times <= end + 1e-6)]) for times in (seen, heard))
    return Sync(seen, heard, begin, end, tolerance, match(seen, heard, tolerance), estimate_lag(seen, heard, tolerance))
