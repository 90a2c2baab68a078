"""The VIDEO type: frames and sound in memory, or a file that is read on demand."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from ...av_models.media.sources import Source, open_container
from ...av_models.media.streams import choose_video
from .read_file import VideoComponents, read_components

HDR = {ColorTrc.ARIB_STD_B67: "HDR", ColorTrc.SMPTE2084: "HDR PQ"}


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
    """The part of a file from `start_time` on, for `duration` seconds (0: to its end)."""

    def __init__(self, file: Source, *, start_time: float = 0.0, duration: float = 0.0) -> None:
        self.file, self.window = file, (start_time, duration)

    def get_stream_source(self) -> str | io.BytesIO:
        return self.file if isinstance(self.file, io.BytesIO) else str(self.file)

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.window

    def get_dimensions(self) -> tuple[int, int]:
        with self._stream() as stream:
            return stream.width, stream.height

    def get_bit_depth(self) -> int:
        with self._stream() as stream:
            return max((part.bits for part in stream.format.components), default=8) if stream.format else 8

    def get_color_space(self) -> str:
        with self._stream() as stream:
            return HDR.get(stream.color_trc, "sRGB")

    def get_components(self) -> VideoComponents:
        return read_components(self.file, *self.window)

    @contextmanager
    def _stream(self) -> Iterator[VideoStream]:
        with open_container(self.file) as container:
            yield choose_video(self.file, container, first=True)


InputImpl = SimpleNamespace(VideoFromComponents=VideoFromComponents, VideoFromFile=VideoFromFile)
Types = SimpleNamespace(VideoComponents=VideoComponents)
