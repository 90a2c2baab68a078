"""Copy encoded streams from one file to another, in a container that holds them whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Literal, cast

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from .copyable import NotCopyableError, codec_name
from .settings import RESERVED_KEYS
from .sources import Source

Holder = Literal["mp4", "mov", "webm", "mkv"]
MUXERS: Mapping[Holder, str] = {"mp4": "mp4", "mov": "mov", "webm": "webm", "mkv": "matroska"}
HIDES_FRAMES = ("mp4", "mov")  # containers with edit lists
_WRITTEN_BY_MUXERS = RESERVED_KEYS - {"creation_time"}
_IMAGE_CODECS = ("gif", "apng", "webp")
_WEBM_CODECS = ("vp8", "vp9", "av1")


def choose_holder(given: InputContainer, video: VideoStream, source: Source, hides: bool) -> Holder:
    """Return the container to copy `video` to: its own if possible, else mkv or mov.

    hides: whether the file hides some of the copied frames. Raises NotCopyableError when no container holds the video whole.
    """
    if codec_name(video) in _IMAGE_CODECS:
        raise NotCopyableError(source, f"{codec_name(video)} is an image format")
    holders = [name for name in _preferred(given, video, source) if not hides or name in HIDES_FRAMES]
    for tagged in (True, False):
        for name in holders:
            if can_hold(name, video, tagged):
                return name
    hidden = " with hidden frames" if hides else ""
    raise NotCopyableError(source, f"no container here holds {codec_name(video)} video{hidden}")


def _preferred(given: InputContainer, video: VideoStream, source: Source) -> tuple[Holder, ...]:
    suffix = "" if isinstance(source, BytesIO) else Path(source).suffix.lower()
    if "mp4" in given.format.name:
        return ("mp4", "mov", "mkv")
    if "webm" in given.format.name and suffix != ".mkv" and codec_name(video) in _WEBM_CODECS:
        return ("webm", "mkv", "mov")
    return ("mkv", "mov")


def can_hold(holder: Holder, stream: Stream, tagged: bool = False) -> bool:
    """Whether a container can hold a copy of `stream`. tagged: under the same four-letter name too, as hvc1."""
    try:
        with av.open(BytesIO(), "w", format=MUXERS[holder]) as out:
            add_copy(out, stream, tagged)
            out.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def add_copy(out: OutputContainer, source: Stream, tagged: bool = False) -> Stream:
    """Add a stream for the packets of `source`, with its parameters, tags, and side data such as the rotation."""
    try:
        # Opaque: from the parameters in the file. Otherwise PyAV wants an encoder with the name of the decoder.
        copy = out.add_stream_from_template(source, opaque=True)
    except ValueError:
        if out.format.name != MUXERS["mkv"] or not isinstance(source, VideoStream):
            raise
        copy = _add_foreign_video(out, source, tagged)
    copy.metadata.update({key: value for key, value in source.metadata.items() if key.lower() != "duration"})
    copy.disposition = source.disposition
    if isinstance(source, VideoStream) and copy.codec_context is not None:
        _set_video_parameters(cast(VideoCodecContext, copy.codec_context), source, tagged)
    return copy


def _set_video_parameters(copy: VideoCodecContext, source: VideoStream, tagged: bool) -> None:
    """Set what PyAV does not copy."""
    if source.sample_aspect_ratio:
        copy.sample_aspect_ratio = source.sample_aspect_ratio
    if "timecode" in source.metadata and source.average_rate:
        copy.framerate = source.average_rate  # the timecode track counts frames
    if tagged:
        copy.codec_tag = source.codec_context.codec_tag


def _add_foreign_video(out: OutputContainer, source: VideoStream, tagged: bool) -> Stream:
    """Add a copy of a video whose codec has no name of its own in mkv, but one in avi: mkv takes these too, unlike PyAV."""
    copy = out.add_mux_stream("h264", source.average_rate)
    with av.open(BytesIO(), "w", format="avi") as avi:
        named = avi.add_stream_from_template(source, opaque=True)
        # A filter that changes nothing passes on all parameters. The name can decide how the frames are decoded.
        BitStreamFilterContext("null", source if tagged else named, copy)
    copy.time_base = source.time_base
    return copy


def kept_tags(tags: Mapping[str, str], replaced: Iterable[str] = ()) -> dict[str, str]:
    """Return text tags without those that a muxer writes itself and without `replaced`, in any case of letters."""
    left_out = _WRITTEN_BY_MUXERS | {key.lower() for key in replaced}
    return {key: value for key, value in tags.items() if key.lower() not in left_out}
