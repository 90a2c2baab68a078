"""What copying a video's packets needs to know of its streams, and the error for a video that cannot be copied."""

from __future__ import annotations

from av.stream import Disposition
from av.video.stream import VideoStream

from .sources import Source, name_of


class NotCopyableError(ValueError):
    """A video that may be decoded, but not copied. `reason`: why, as the start of a sentence."""

    def __init__(self, source: Source, reason: str) -> None:
        super().__init__(f"{name_of(source)}: {reason}, so it cannot be copied; convert it to mp4, mov, mkv or webm")
        self.reason = reason


def is_cover(stream: VideoStream) -> bool:
    """Whether a stream is a cover image or the pictures of chapters."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def codec_name(stream: VideoStream) -> str:
    """Return the name of a stream's codec, such as av1."""
    return stream.codec_context.codec.canonical_name
