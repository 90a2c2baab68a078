"""The VIDEO type: frames and sound in memory, or a file that is read on demand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from ...av_models.media import open_video, read_video


@dataclass
class VideoComponents:
    """The contents of a VIDEO.

    images: [F, H, W, 3] in 0..1. audio: {"waveform": [1, C, samples], "sample_rate": Hz}, or None.
    """

    images: Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class VideoInput(ABC):
    @abstractmethod
    def get_components(self) -> VideoComponents: ...

    @abstractmethod
    def get_dimensions(self) -> tuple[int, int]:
        """Returns width and height in pixels."""

    def get_bit_depth(self) -> int:
        return 8

    def get_color_space(self) -> str:
        return "sRGB"


class VideoFromComponents(VideoInput):
    def __init__(self, components: VideoComponents) -> None:
        self.components = components

    def get_components(self) -> VideoComponents:
        return self.components

    def get_dimensions(self) -> tuple[int, int]:
        return self.components.images.shape[2], self.components.images.shape[1]


class VideoFromFile(VideoInput):
    def __init__(self, file: str | Path) -> None:
        self.file = file

    def get_stream_source(self) -> str:
        return str(self.file)

    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.0, 0.0

    def get_dimensions(self) -> tuple[int, int]:
        with open_video(self.file) as video:
            return video.size

    def get_components(self) -> VideoComponents:
        clip = read_video(self.file)
        audio = None
        if clip.audio is not None:
            audio = {"waveform": clip.audio[None], "sample_rate": clip.sample_rate}
        return VideoComponents(clip.frames.float() / 255, clip.fps, audio, clip.metadata)


InputImpl = SimpleNamespace(VideoFromComponents=VideoFromComponents, VideoFromFile=VideoFromFile)
Types = SimpleNamespace(VideoComponents=VideoComponents)
