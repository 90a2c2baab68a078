"""Find the frame rate of a video stream: headers state an estimate in some formats, and nothing in others."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from av.video.stream import VideoStream

from .sources import Source, demux, explain_damage, name_of, open_container

_SLOWEST, _FASTEST = Fraction(1, 60), 1000  # frames per second that are believed
_LISTED, _COUNTED = 0.03, 0.15  # how far a stated rate may be off; some codecs have packets that are not shown


def find_fps(source: Source, stream: VideoStream, is_indexed: bool, has_jumps: bool) -> Fraction:
    """Return the rate that a stream states, or the mean of its time stamps if that is another rate.

    is_indexed: whether the file has a list of all frames. has_jumps: whether the stamps may jump.
    Raises ValueError when there is no rate and there are no time stamps.
    """
    stated = stream.average_rate or stream.guessed_rate
    trusted = has_jumps or (is_indexed and _is_even(stream))
    rate = stated if stated and trusted else _agreed(stated, _measured(source, stream.index), _LISTED if is_indexed else _COUNTED)
    if not rate:
        raise ValueError(f"{name_of(source)} does not state its frame rate; encode it again with a frame rate")
    return Fraction(rate)


def _is_even(stream: VideoStream) -> bool:
    """Whether the listed frames are evenly spaced, but for rounding."""
    times = [each.timestamp for each in stream.index_entries]
    steps = [after - before for before, after in pairwise(times)]
    return not steps or max(steps) - min(steps) <= 1


def _measured(source: Source, index: int) -> Fraction | None:
    with open_container(source) as container, explain_damage(source):
        packets = demux(container, container.streams[index])
        times = [packet.pts * packet.time_base for packet in packets if packet.pts is not None and not packet.is_discard]
    span = max(times) - min(times) if times else 0
    return (len(times) - 1) / Fraction(span) if span else None


def _agreed(stated: Fraction | None, measured: Fraction | None, tolerance: float) -> Fraction | None:
    if not stated or not measured or not _SLOWEST <= measured <= _FASTEST:
        return stated or measured
    return stated if abs(stated / measured - 1) < tolerance else measured
