"""Move the timestamps of copied packets, so that the first frame that is shown begins at 0 and hidden frames stay hidden."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import count
from typing import Any

import av
from av.video.stream import VideoStream

from .settings import muxer_options
from .shown import Shown


def move_packets(packets: Iterable[av.Packet[Any]], shown: Shown, video: VideoStream) -> Iterator[av.Packet[Any]]:
    """Yield the packets that are copied, with moved timestamps. packets: of `video`, and of subtitles."""
    move_video, number = _VideoMover(shown).move, -1
    for packet in packets:
        if packet.stream is not video:
            if _move_other(packet, shown):
                yield packet
            continue
        number += 1
        assert packet.pts is not None
        if shown.copies(number, packet.pts):
            move_video(packet)
            yield packet


class _VideoMover:
    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.after_end = _time_after(shown) if shown.hides_end else 0
        self.last_dts: int | None = None

    def move(self, packet: av.Packet[Any]) -> None:
        assert packet.pts is not None
        is_after_end = self.shown.hides_end and packet.pts >= self.shown.end
        packet.pts -= self.shown.start
        if is_after_end:
            packet.pts, packet.duration = self.after_end, 0
        if packet.dts is None:
            return
        dts = packet.dts - self.shown.start
        # Muxers refuse times that do not grow, as in damaged recordings.
        self.last_dts = dts if self.last_dts is None else max(dts, self.last_dts + 1)
        packet.dts = self.last_dts
        packet.pts = max(packet.pts, self.last_dts)


def _time_after(shown: Shown) -> int:
    """Return the first time after the shown frames that an edit list states exactly. Frames of no duration there are hidden."""
    unit = shown.time_base * int(muxer_options("mp4")["movie_timescale"])
    return next(time for time in count(shown.end - shown.start) if round(Fraction(math.ceil(time * unit)) / unit) == time)


def _move_other(packet: av.Packet[Any], shown: Shown) -> bool:
    """Move the packet of a subtitle. Returns whether it is copied."""
    if packet.pts is None or packet.time_base is None:
        return False
    start = round(shown.start * shown.time_base / packet.time_base)
    packet.pts = packet.dts = packet.pts - start
    return packet.pts >= 0
