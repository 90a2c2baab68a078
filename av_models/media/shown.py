"""Find out which frames of a video stream are shown, and when. A file may hide some that others are decoded from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

import av

from .copyable import NotCopyableError
from .packet_times import CHECK_EVERY, PacketTimes, find_times, timed_packets
from .sources import Source, explain_damage, name_of, open_container
from .streams import choose_video

ROUNDED_TIMESTAMPS = 2  # timestamps that a duration depends on, each rounded to the stream's time base
LONGEST_FRAME = 600  # seconds
_Check = Callable[[], None] | None


@dataclass(frozen=True)
class Shown:
    """Which packets of a video stream are copied, and when their frames are shown. Times are in `time_base` units.

    seconds: from the start of the first shown frame to the end of the last. frames: number of shown frames.
    start: time of the first shown frame. end: when the last one ends.
    first, last: numbers of the packets, in the order of the file, from and to which packets are copied.
    earliest: packets with an earlier time are not copied: they cannot be decoded.
    hides: whether some of the copied packets are not shown. hides_end: whether some of these are later than the shown ones.
    times: the times of all packets if the file does not state them.
    """

    seconds: Fraction
    frames: int
    time_base: Fraction
    start: int
    end: int
    first: int
    last: int
    earliest: int
    hides: bool
    hides_end: bool
    times: PacketTimes | None

    def copies(self, number: int, pts: int) -> bool:
        """Whether packet `number` of the file is copied."""
        return self.first <= number <= self.last and pts >= self.earliest


class _Stamp(NamedTuple):
    """Times of a packet. is_hidden: the file does not show its frame. is_key: decoding can start here."""

    pts: int
    duration: int
    is_hidden: bool
    is_key: bool


def find_shown(source: Source, check_interrupt: _Check = None) -> Shown:
    """Read all packets of the main video stream and return which frames are shown.

    Only the first frame is decoded, where the file does not say whether it can be. Raises ValueError when the file is damaged,
    NotCopyableError when a copy would show frames that the file hides.
    """
    times = find_times(source, check_interrupt)
    stamps = list(_read_stamps(source, times, check_interrupt))
    with open_container(source) as container:
        video = choose_video(source, container)
        time_base, rate = Fraction(video.time_base or 1), video.average_rate
    if all(each.is_hidden for each in stamps):
        raise ValueError(f"{name_of(source)} has no frames; give a video file")
    if any(each.is_hidden for each in stamps):
        first, earliest = 0, min(each.pts for each in stamps)
        start = min(each.pts for each in stamps if not each.is_hidden)
    else:
        start, first = _first_decodable(source, stamps, times, check_interrupt)
        earliest = min(start, stamps[first].pts)
    last = max(number for number, each in enumerate(stamps) if not each.is_hidden)
    copied = [each for each in stamps[first : last + 1] if each.pts >= earliest]
    shown = sorted((each.pts, each.duration) for each in copied if not each.is_hidden and each.pts >= start)
    latest = shown[-1][0]
    hidden = [each.pts for each in copied if each.is_hidden or each.pts < start]
    if any(start <= pts <= latest for pts in hidden):
        raise NotCopyableError(source, "its edit list hides frames in the middle")
    _check_jumps(source, shown, time_base)
    seconds, end = _duration(shown, time_base, rate)
    hides_end = any(pts > latest for pts in hidden)
    return Shown(seconds, len(shown), time_base, start, end, first, last, earliest, bool(hidden), hides_end, times)


def _check_jumps(source: Source, shown: list[tuple[int, int]], time_base: Fraction) -> None:
    """Refuse files whose damaged timestamps would make the audio hours long."""
    ends = [*(time for time, _ in shown[1:]), sum(shown[-1])]
    jump = max(float((end - time) * time_base) for (time, _), end in zip(shown, ends))
    if jump > LONGEST_FRAME:
        raise ValueError(f"{name_of(source)} is damaged: its timestamps jump by {jump:.0f} s; encode or copy it again")


def _duration(shown: list[tuple[int, int]], time_base: Fraction, rate: Fraction | None) -> tuple[Fraction, int]:
    """Return the seconds from the first frame to the end of the last, and that end. shown: sorted times and durations."""
    (start, _), (latest, duration) = shown[0], shown[-1]
    length: float = latest - start + (duration or (latest - start) / max(1, len(shown) - 1))
    seconds = Fraction(length * time_base)
    constant_rate = len(shown) / Fraction(rate) if rate else seconds
    is_rounded = abs(constant_rate - seconds) <= ROUNDED_TIMESTAMPS * time_base
    return constant_rate if is_rounded else seconds, start + round(length)


def _read_stamps(source: Source, times: PacketTimes | None, check_interrupt: _Check) -> Iterator[_Stamp]:
    with open_container(source) as container, explain_damage(source):
        for number, packet in enumerate(timed_packets(container, times, choose_video(source, container))):
            if packet.pts is None:
                raise NotCopyableError(source, "its file does not say when its frames are shown")
            yield _Stamp(packet.pts, packet.duration or 0, packet.is_discard, packet.is_keyframe)
            if check_interrupt and number % CHECK_EVERY == 0:
                check_interrupt()


def _first_decodable(
    source: Source, stamps: list[_Stamp], times: PacketTimes | None, check_interrupt: _Check
) -> tuple[int, int]:  # fmt: skip
    """Return the time of the first frame that can be decoded, and the number of the packet at which decoding starts.

    A recording may begin with frames that need others from before it.
    """
    start = _first_decoded_time(source, times, check_interrupt)
    if start is None:
        return min(each.pts for each in stamps), 0
    keys = [number for number, each in enumerate(stamps) if each.is_key and each.pts <= start]
    if not keys:
        raise NotCopyableError(source, "its first frames are made of others that it does not hold")
    return start, keys[-1]


def _first_decoded_time(source: Source, times: PacketTimes | None, check_interrupt: _Check) -> int | None:
    """Return the time of the first frame that a decoder gives; None if it has no time."""
    with open_container(source) as container, explain_damage(source):
        video = choose_video(source, container)
        video.codec_context.thread_count = 1
        for number, packet in enumerate(chain(timed_packets(container, times, video), [None])):
            try:
                frames = video.decode(packet)
            except av.FFmpegError:
                continue
            if frames:
                return frames[0].pts
            if check_interrupt and number % CHECK_EVERY == 0:
                check_interrupt()
    raise ValueError(f"{name_of(source)} is damaged: none of its frames can be decoded; encode or copy it again")
