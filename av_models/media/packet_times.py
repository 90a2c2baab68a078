"""Read packets with the times at which their frames are shown, also from files that do not state them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from .copyable import NotCopyableError, codec_name
from .sources import Source, demux, explain_damage, open_container
from .stamps import BACK, JUMP
from .streams import choose_video

CHECK_EVERY = 64  # packets
BROADCAST = ("mpegts", "mpeg")  # formats that may be joined midway
SLOWEST, FASTEST = 1, 1000  # frames per second that are believed of raw video
_Check = Callable[[], None] | None


@dataclass(frozen=True)
class PacketTimes:
    """Times of the packets of a video stream, in its time base and in the order of the file: shown, decoded, and duration."""

    pts: list[int]
    dts: list[int]
    duration: list[int]


def find_times(source: Source, check_interrupt: _Check = None) -> PacketTimes | None:
    """Return the times of a video whose file does not state when frames are shown; None if the file states it.

    Such files are raw streams (.h264), and avi with frames that are stored in another order than they are shown in. There,
    all frames are decoded to find the order. Raises NotCopyableError when that fails.
    """
    with open_container(source) as container, explain_damage(source):
        video = choose_video(source, container)
        is_raw = bool(Flags(container.format.flags) & Flags.no_timestamps)
        is_reordered = bool(video.codec_context.has_b_frames)
        if not is_raw and not (container.format.name == "avi" and is_reordered and codec_name(video) in ("h264", "hevc")):
            return None
        time_base = Fraction(video.time_base or 1)
        rate = video.guessed_rate if video.guessed_rate and SLOWEST <= video.guessed_rate <= FASTEST else 25
        step = max(1, round(1 / (Fraction(rate) * time_base)))
        stated = [packet.dts for packet in demux(container, video) if packet.size]
    known = [time for time in stated if time is not None]
    is_known = len(known) == len(stated) and sorted(set(known)) == known
    times = known if is_known else [step * number for number in range(len(stated))]
    ranks = _ranks(source, check_interrupt) if is_reordered else list(range(len(times)))
    if sorted(ranks) != list(range(len(times))):
        raise NotCopyableError(source, "its file does not say when its frames are shown")
    gaps = [after - time for time, after in zip(times, times[1:])]
    pts = [times[rank] for rank in ranks]
    early = max((time - shown for time, shown in zip(times, pts)), default=0)
    return PacketTimes(pts, [time - early for time in times], [*gaps, gaps[-1] if gaps else step])


def _ranks(source: Source, check_interrupt: _Check) -> list[int]:
    """Return for each packet of a video which frame, in the order of showing, it is."""
    with open_container(source) as container, explain_damage(source):
        video = choose_video(source, container)
        order, count = [], 0
        for packet in demux(container, video):
            if packet.size:
                packet.pts = packet.dts = count
                count += 1
            try:
                order += [frame.pts for frame in packet.decode()]
            except av.FFmpegError as error:
                raise NotCopyableError(source, "its file does not say when its frames are shown") from error
            if check_interrupt and count % CHECK_EVERY == 0:
                check_interrupt()
    ranks = [-1] * count
    for rank, number in enumerate(order):
        if number is not None and 0 <= number < count:
            ranks[number] = rank
    return ranks


def timed_packets(
    container: InputContainer, times: PacketTimes | None, video: VideoStream, *others: Any
) -> Iterator[av.Packet[Any]]:  # fmt: skip
    """Yield the packets of `video`, with `times` if there are any, and of `others`, in the order of the file."""
    number, joined = 0, _Joined() if container.format.name in BROADCAST else None
    for packet in demux(container, video, *others):
        if packet.stream is video and packet.size:
            if times:
                packet.pts, packet.dts, packet.duration = times.pts[number], times.dts[number], times.duration[number]
            elif packet.pts is None:
                packet.pts = packet.dts
            if joined:
                joined.move(packet)
            number += 1
        if packet.size:
            yield packet


class _Joined:
    """Lets the times go on where recordings were joined and a new time base begins."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.offset = 0

    def move(self, packet: av.Packet[Any]) -> None:
        if packet.dts is None or packet.pts is None:
            return
        step = (packet.dts + self.offset - self.next) * packet.time_base if self.next is not None else 0
        if self.next is not None and not -BACK < step < JUMP:
            self.offset = self.next - packet.dts
        packet.dts, packet.pts = packet.dts + self.offset, packet.pts + self.offset
        self.next = packet.dts + (packet.duration or 0)
