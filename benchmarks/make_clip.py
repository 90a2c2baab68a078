"""Writes small test clips with PyAV: any codec and container, any timestamps, and pictures and audio that can be recognised.

Each picture shows its number, which corner is the upper left one, and a square that falls and bounces at `Sound.click`. The audio
is a soft tone with one click.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import Flags
from av.stream import Disposition
from av.video.stream import VideoStream

CLICK_SECONDS = 0.01
CORNER = 210  # brightness of the upper left quarter
X264 = {"preset": "veryfast"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}


@dataclass(frozen=True)
class Pictures:
    """A video stream. size: width and height as shown. turned: quarter turns, counterclockwise, that a player makes.

    start: time of the first picture. times: of each picture after it, or None if they are evenly spaced. Both count in 1/fps s.
    first, of: the number of the first picture, and how many numbers there are.
    """

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (128, 96)
    frames: int = 50
    fps: Fraction = Fraction(25)
    start: int = 0
    times: Sequence[int] | None = None
    options: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    turned: int = 0
    transparent: bool = False
    first: int = 0
    of: int = 0
    cover: bool = False


@dataclass(frozen=True)
class Sound:
    """An audio stream. click: seconds after its first sample; start: seconds of that sample."""

    codec: str = "aac"
    rate: int = 48_000
    layout: str = "stereo"
    seconds: float = 2.0
    click: float = 1.0
    start: float = 0.0
    options: dict[str, str] = field(default_factory=dict)
    format: str = ""


Stream = Pictures | Sound


def write_clip(
    path: Path, *streams: Stream, muxer: str | None = None, options: dict[str, str] | None = None, subtitles: Path | None = None
) -> None:
    """Writes a file with `streams` in that order. subtitles: an srt file whose lines are copied."""
    with av.open(str(path), "w", format=muxer, options=options or {}) as out:
        out.flags |= Flags.bitexact.value
        made = [_add(out, each) for each in streams]
        titles = av.open(str(subtitles)) if subtitles else None
        packets = [packet for stream, each in zip(made, streams) for packet in _encode(stream, each)]
        if titles:
            packets += _copied(out, titles)
        if not packets:
            out.start_encoding()
        for packet in sorted(packets, key=_time):
            out.mux(packet)
        if titles:
            titles.close()


def copy_packets(
    source: Path,
    path: Path,
    *,
    since: float = 0.0,
    until: float = 1e9,
    options: dict[str, str] | None = None,
    muxer: str | None = None,
) -> None:
    """Copies the packets from the last key picture at or before `since` to `until`, so that time 0 is `since` seconds.

    This is what `ffmpeg -ss SINCE -i SOURCE -t … -c copy` does.
    """
    with av.open(str(source)) as given, av.open(str(path), "w", format=muxer, options=options or {}) as out:
        out.flags |= Flags.bitexact.value
        streams = {each.index: out.add_stream_from_template(each) for each in given.streams}
        packets = [packet for packet in given.demux() if packet.size]
        keys = [p.pts * p.time_base for p in packets if p.is_keyframe and p.stream.type == "video"]
        begin = max((key for key in keys if key <= since), default=Fraction(0))
        for packet in packets:
            at, first = packet.pts * packet.time_base, begin if packet.stream.type == "video" else since
            if not first <= at < until:
                continue
            shift = int(Fraction(since) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = streams[packet.stream.index]
            out.mux(packet)


def draw(number: int, of: int, size: tuple[int, int], hit: float = 0.5) -> np.ndarray:
    """Returns a picture, uint8 [height, width, 3]. hit: when the square bounces, as a part of the clip."""
    width, height = size
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 2] = np.linspace(40, 120, width, dtype=np.uint8)
    rgb[: height // 2, : width // 2] = CORNER
    rgb[height // 2 :, width // 2 :] = number_level(number, of)
    side, part = max(1, width // 8), (number + 0.5) / of
    fall = part / hit if part < hit else 1 - (part - hit) / (1 - hit) / 2
    top = int(fall * (height - side))
    rgb[top : top + side, width // 8 : width // 8 + side] = (220, 30, 30)
    return rgb


def number_level(number: int, of: int) -> int:
    """Returns the brightness that stands for a picture's number."""
    return 30 + 200 * number // max(of, 1)


def patched(path: Path, after: bytes, offset: int, value: bytes, count: int = 1) -> None:
    """Overwrites bytes `offset` bytes behind the first `count` places where `after` stands."""
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(count):
        at = data.index(after, at + 1)
        data[at + offset : at + offset + len(value)] = value
    path.write_bytes(data)


def _add(out: Any, each: Stream) -> Any:
    if isinstance(each, Sound):
        sound = out.add_stream(each.codec, rate=each.rate, layout=each.layout, options=each.options)
        assert isinstance(sound, AudioStream)
        if each.format:
            sound.codec_context.format = each.format
        return sound
    defaults = {"libx264": X264, "libx265": X265}.get(each.codec, {})
    stream = out.add_stream(each.codec, rate=each.fps, options=defaults | each.options)
    assert isinstance(stream, VideoStream)
    width, height = each.size if each.turned % 2 == 0 else each.size[::-1]
    stream.width, stream.height, stream.pix_fmt = width, height, each.pix_fmt
    stream.codec_context.thread_count = 1
    if each.tag:
        stream.codec_context.codec_tag = each.tag
    if each.cover:
        stream.disposition = Disposition.attached_pic
    return stream


def _encode(stream: Any, each: Stream) -> list[av.Packet]:
    frames = _sound_frames(each) if isinstance(each, Sound) else _picture_frames(each)
    with _no_traces():
        packets = [packet for frame in frames for packet in stream.encode(frame)]
    return packets + (stream.encode(None) if packets or not isinstance(each, Sound) or each.seconds else [])


def _picture_frames(each: Pictures) -> Iterator[av.VideoFrame]:
    width, _ = each.size
    for i in range(each.frames):
        rgb = np.rot90(draw(each.first + i, each.of or each.frames, each.size), -each.turned)
        source = "rgb24"
        if each.transparent:
            alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
            alpha[:, : width // 2] = 0
            rgb, source = np.concatenate([rgb, alpha], axis=2), "rgba"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=source)
        if each.pix_fmt != source:
            frame = frame.reformat(format=each.pix_fmt)
        frame.pts, frame.time_base = each.start + (i if each.times is None else each.times[i]), 1 / each.fps
        yield frame


def _sound_frames(each: Sound) -> Iterator[av.AudioFrame]:
    time = np.arange(round(each.seconds * each.rate)) / each.rate
    wave = 0.02 * np.sin(2 * np.pi * 440 * time)
    wave[(time >= each.click) & (time < each.click + CLICK_SECONDS)] = 0.8
    wave *= np.where(np.arange(len(wave)) % 24 < 12, 1, -1)  # 1 or 2 kHz at 24 or 48 kHz
    channels = av.AudioLayout(each.layout).nb_channels
    samples = np.repeat((wave * 32767).astype(np.int16), channels)[None]  # interleaved: planar arrays hold at most 8 channels
    begin, step = round(each.start * each.rate), 1024
    for at in range(0, len(wave), step):
        part = samples[:, at * channels : (at + step) * channels]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout=each.layout)
        frame.sample_rate, frame.pts, frame.time_base = each.rate, begin + at, Fraction(1, each.rate)
        yield frame


def _copied(out: Any, given: Any) -> list[av.Packet]:
    stream = out.add_stream_from_template(given.streams[0])
    packets = [packet for packet in given.demux() if packet.size]
    for packet in packets:
        packet.stream = stream
    return packets


def _time(packet: av.Packet) -> Fraction:
    at = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if at is None else Fraction(at * packet.time_base)


@contextmanager
def _no_traces() -> Iterator[None]:
    """An AV1 encoder logs to the terminal, and gives an administrator's thread real-time priority: neither lasts."""
    linux, log = hasattr(os, "sched_getscheduler"), os.environ.get("SVT_LOG")
    policy = (os.sched_getscheduler(0), os.sched_getparam(0)) if linux else None
    os.environ["SVT_LOG"] = "1"
    try:
        yield
    finally:
        if log is None:
            del os.environ["SVT_LOG"]
        if policy and os.sched_getscheduler(0) != policy[0]:
            os.sched_setscheduler(0, *policy)
