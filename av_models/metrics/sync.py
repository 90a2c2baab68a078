"""Audio-video sync: which video and audio events match within a frame, the chance level, and the offset.

The chance level is the mean F1 over SHIFTS evenly spaced circular shifts of the audio events in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .matching import Matching, f1, match, median_offset_ms
from .offset import estimate_lag

SHIFTS = 64
MIN_TOLERANCE = 0.016  # seconds: the window of the onset detector; a frame is shorter above 62 fps
NOTICEABLE_MS = 45.0  # earlier audio is noticeable (ITU-R BT.1359-1; later audio from 125 ms)


@dataclass(frozen=True)
class Sync:
    """Sync of the video and audio events between `begin` and `end`, in which both can be observed.

    seen, heard: times of the video and audio events in seconds, sorted.
    matching: of the two, within `tolerance` seconds.
    lag: seconds by which the audio is late (negative: early), or None without a reliable estimate.
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
        """F1 of the matching, 0..1; None when there are no events."""
        return float(f1(self.matching.counts)) if len(self.seen) + len(self.heard) else None

    @cached_property
    def chance(self) -> float | None:
        """Chance level: mean F1 of the same events, circularly shifted in time; None when there are no events."""
        if self.f1 is None:
            return None
        length = self.end - self.begin
        if length <= 0:
            return self.f1
        shifts = length * np.arange(1, SHIFTS + 1) / (SHIFTS + 1)
        shifted = [match(self.seen, (self.heard - self.begin + shift) % length + self.begin, self.tolerance) for shift in shifts]
        return float(np.mean([f1(each.counts) for each in shifted]))

    @cached_property
    def offset_ms(self) -> float | None:
        """Milliseconds by which the audio is late: the median over the events that match at `lag`; None when none match."""
        shift = self.lag or 0.0
        offset = median_offset_ms([match(self.seen + shift, self.heard, self.tolerance)]) + 1000 * shift
        return None if np.isnan(offset) else offset

    @property
    def advice_ms(self) -> float | None:
        """Milliseconds to shift the audio by (negative: earlier); None when the offset is not noticeable or not reliable."""
        offset = self.offset_ms
        if self.lag is None or offset is None or abs(offset) <= max(NOTICEABLE_MS, 1000 * self.tolerance):
            return None
        return -offset


def measure_sync(seen: np.ndarray, heard: np.ndarray, fps: float, end: float) -> Sync:
    """Match the video events `seen` and the audio events `heard`, times in seconds.

    fps: frames per second; the tolerance is one frame. end: seconds at which the shorter of video and audio ends.
    Events in the first frame are ignored: a video event is a change from the previous frame.
    """
    begin, tolerance = 1 / fps, max(1 / fps, MIN_TOLERANCE)
    seen, heard = (np.sort(times[(times >= begin - 1e-6) & (times <= end + 1e-6)]) for times in (seen, heard))
    return Sync(seen, heard, begin, end, tolerance, match(seen, heard, tolerance), estimate_lag(seen, heard, tolerance))
