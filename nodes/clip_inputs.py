"""The clip that a node is given: frames, audio and frame rate, or a VIDEO that holds all of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from ..av_models.media.read import Window, open_video
from ..av_models.media.select_frames import SelectedFrames, select_frames
from ..av_models.media.sources import Source
from ..av_models.shapes import VideoShape
from .host import InputImpl, check_interrupt

NO_STAMPS = "this video has no time stamps that can be read, so its audio is taken to begin with its first frame"


@dataclass(frozen=True)
class ClipInputs:
    """images: [F, H, W, C] in 0..1, or None. audio: ComfyUI's AUDIO, or None. fps: frames per second. warnings: one line each."""

    images: Tensor | SelectedFrames | None
    audio: dict[str, Any] | None
    fps: float | Fraction
    warnings: tuple[str, ...] = ()


def video_file(video: Any) -> tuple[Source, Window] | None:
    """Returns the file that a VIDEO is read from and the part that is used, or None for another VIDEO."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return None
    return video.get_stream_source(), Window(*video.get_active_trim_window())


def unused_inputs(images: Tensor | None, audio: dict[str, Any] | None) -> tuple[str, ...]:
    """Returns a warning for each input that a connected VIDEO replaces."""
    unused = [name for name, each in (("images", images), ("audio", audio)) if each is not None]
    return tuple(f"{name} is connected but not used, because video is connected" for name in unused)


def read_clip(images: Tensor | None, audio: dict[str, Any] | None, fps: float, video: Any = None) -> ClipInputs:
    """Returns the connected clip. A `video` is used instead of the other inputs."""
    if video is None:
        require_audio(audio)
        return ClipInputs(images, audio, fps)
    parts = video.get_components()
    hidden = () if isinstance(video, InputImpl.VideoFromComponents) else (NO_STAMPS,)
    return ClipInputs(parts.images, parts.audio, parts.frame_rate, (*unused_inputs(images, audio), *hidden))


def read_file_clip(source: Source, window: Window, shape: VideoShape, until: int | None) -> ClipInputs:
    """Reads a video file, frame by frame, for a clip of `shape`: its frames at their times, and its audio from the first frame on.

    until: how many frames of the clip are needed; None for all of the video.
    """
    with open_video(source, window, last_audio=True) as file:
        images = select_frames(file, shape, until, check_interrupt)
        waveform, rate = file.read_audio(with_padding=True)
    audio = None if waveform is None else {"waveform": waveform[None], "sample_rate": rate}
    return ClipInputs(images, audio, images.fps)


def require_audio(audio: dict[str, Any] | None) -> None:
    """Raises ValueError for an AUDIO of another pack that lacks a part."""
    for name in ("waveform", "sample_rate"):
        if audio is not None and audio.get(name) is None:
            raise ValueError(f"audio has no {name}; connect the audio of a loader or of Decode Video + Audio")


def split_clips(images: Tensor, audio: dict[str, Any] | None) -> list[tuple]:
    """Splits a batch into clips (frames, audio). The number of clips is the batch size of the audio."""
    require_audio(audio)
    rows = 1 if audio is None else len(audio["waveform"])
    if rows == 0 or len(images) % rows:
        raise ValueError(f"{len(images)} frames cannot be split into {rows} clips of equal length; use one audio per clip")
    if rows == 1:
        return [(images, audio)]
    rate = audio["sample_rate"]
    sounds = [{"waveform": waveform[None], "sample_rate": rate} for waveform in audio["waveform"]]
    return list(zip(images.split(len(images) // rows), sounds))
