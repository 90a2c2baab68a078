"""Times of decoded frames, from their time stamps."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

JUMP, BACK = 10, 1  # seconds; a longer step between two frames of a broadcast stream, forward or back, is a new time base
_TICK = Fraction(1, 1000)


def stamp(frame: av.VideoFrame | av.AudioFrame | av.Packet[Any]) -> Fraction | None:
    """Return the time stamp of a frame or a packet in seconds, or None when it has none."""
    return None if frame.pts is None or not frame.time_base else Fraction(frame.pts * frame.time_base)


class Clock:
    """Gives the frames of a stream increasing times, in seconds after the first frame.

    step: returns the seconds between frames, for streams without time stamps. has_jumps: whether the stamps may jump, as in
    a broadcast stream.
    """

    start: Fraction | None = None  # stamp of the first frame
    last: Fraction | None = None  # time of the newest frame

    def __init__(self, step: Callable[[], Fraction], has_jumps: bool) -> None:
        self._step, self._has_jumps, self._offset = step, has_jumps, Fraction(0)

    def time(self, stamp: Fraction | None) -> Fraction:
        """Return the time of the next frame."""
        if self.last is None:
            self.start, self.last = stamp, Fraction(0)
        elif stamp is None or self.start is None:
            self.last += self._step()
        else:
            self.last = self._after(self.last, stamp - self.start + self._offset)
        return self.last

    def _after(self, last: Fraction, time: Fraction) -> Fraction:
        if time < last - BACK or (self._has_jumps and time > last + JUMP):
            self._offset += last + self._step() - time
            return last + self._step()
        return max(time, last + min(_TICK, self._step()))
