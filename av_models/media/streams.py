"""Choose the streams of a file to read."""

from __future__ import annotations

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from .sources import Source, name_of


def choose_video(source: Source, container: InputContainer, first: bool = False) -> VideoStream:
    """Return the best video stream, or the first one, that is not a cover picture. Raises ValueError when there is none."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    found = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not found:
        why = "no video (its only image is a cover)" if container.streams.video else "no video stream"
        raise ValueError(f"{name_of(source)} has {why}; give a video file")
    readable = [stream for stream in found if stream.codec_context is not None]
    if not readable:
        raise ValueError(f"{name_of(source)} has video of an unknown codec; encode it again, for instance with h264")
    best = None if first else container.streams.best("video")
    return next((stream for stream in readable if stream is best), readable[0])


def choose_audio(container: InputContainer, last: bool) -> AudioStream | None:
    """Return the best audio stream, or the last one; None when there is none that can be decoded."""
    readable = [stream for stream in container.streams.audio if stream.codec_context is not None]
    best = container.streams.best("audio")
    chosen = [] if last else [stream for stream in readable if stream is best]
    return next(reversed(chosen or readable), None)
