"""Copy what belongs to a video beside its sound: subtitles, a cover image, attached files and chapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, DataStream, Discard, Stream
from av.video.stream import VideoStream

from .copy_streams import Holder, add_copy, can_hold
from .copyable import codec_name, is_cover
from .sources import Source, open_container

_IMAGE_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "bmp": "image/bmp", "webp": "image/webp"}


def add_extras(
    source: Source, given: InputContainer, video: VideoStream, out: OutputContainer, holder: Holder
) -> tuple[dict[int, Stream], list[str]]:  # fmt: skip
    """Add what the container holds to `out`. given: the open `source`.

    Returns the new streams whose packets are to be copied, by the index of the old ones, and one line for each kind of stream
    that is left out.
    """
    copies: dict[int, Stream] = {}
    left_out: Counter[str] = Counter()
    for stream in given.streams:
        kind = _kind(stream, video)
        add = _ADDERS[kind] if kind in _HELD[holder] and (kind == COVER or can_hold(holder, stream)) else None
        copy = add(source, stream, out) if add else None
        if copy:
            copies[stream.index] = copy
        elif kind and not add:
            left_out[kind] += 1
    return copies, [f"{count} {kind}{'s were' if count > 1 else ' was'} not copied" for kind, count in left_out.items()]


def _kind(stream: Stream, video: VideoStream) -> str:
    """Return what a stream beside the video and its sound is; empty if it needs no copy."""
    if isinstance(stream, VideoStream) and stream is not video:
        return COVER if is_cover(stream) else "other video track"
    if isinstance(stream, AttachmentStream):
        return ATTACHED
    # A muxer writes timecodes and chapters again from the tags of the file.
    if isinstance(stream, DataStream) and "timecode" not in stream.metadata and stream.discard != Discard.all:
        return "data track"
    return SUBTITLES if stream.type == "subtitle" else ""


def _add_subtitles(source: Source, stream: Stream, out: OutputContainer) -> Stream:
    return add_copy(out, stream)


def _add_attached(source: Source, stream: Stream, out: OutputContainer) -> None:
    add_copy(out, stream)


def _add_cover(source: Source, stream: Stream, out: OutputContainer) -> None:
    """Attach a cover image as a file, which mkv takes for its cover."""
    assert isinstance(stream, VideoStream)
    kind = stream.metadata.get("mimetype") or _IMAGE_TYPES.get(codec_name(stream), "image/jpeg")
    with open_container(source) as container:
        images = (bytes(packet) for packet in container.demux(container.streams[stream.index]) if packet.size)
        out.add_attachment(stream.metadata.get("filename", f"cover.{kind.rpartition('/')[2]}"), kind, next(images, b""))


SUBTITLES, COVER, ATTACHED = "subtitle track", "cover image", "attached file"
_ADDERS: dict[str, Callable[[Source, Stream, OutputContainer], Stream | None]] = {
    SUBTITLES: _add_subtitles, COVER: _add_cover, ATTACHED: _add_attached
}  # fmt: skip
# Files with a workflow in their tags have no place for a cover image in mp4 and mov.
_HELD: dict[Holder, tuple[str, ...]] = {
    "mp4": (SUBTITLES,), "mov": (SUBTITLES,), "webm": (SUBTITLES,), "mkv": (SUBTITLES, COVER, ATTACHED)
}  # fmt: skip


def copy_chapters(given: InputContainer, out: OutputContainer, start: Fraction, seconds: Fraction) -> None:
    """Copy the chapters. start: the time in `given` at which `out` begins. seconds: duration of `out`."""
    chapters = []
    for chapter in given.chapters():
        base = chapter["time_base"] or Fraction(1)
        begin, end = (min(max(chapter[edge] * base - start, Fraction(0)), seconds) for edge in ("start", "end"))
        if begin < end:
            chapters.append(chapter | {"start": round(begin / base), "end": round(end / base)})
    out.set_chapters(chapters)
