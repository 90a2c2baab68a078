"""Convert decoded frames to floats with the values of ComfyUI's own loader."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import VideoReformatter

_AS_BYTES = ("yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8")
_ALIGNED = 32  # pixels; other widths are padded, because FFmpeg's result depends on what lies beside them


class FloatFrames:
    """Converts frames to float32 [H, W, 3] in 0..1, or [H, W, 4] with alpha, as they are stored: not turned upright.

    The first frame decides the format and the size. ComfyUI's values are 0.5/255 too dark on average: `UprightFrames` has
    exact ones.
    """

    def __init__(self) -> None:
        self._format, self._size, self._reformatter = "", (0, 0), VideoReformatter()
        self._border: _Border | None = None

    def convert(self, frame: av.VideoFrame) -> np.ndarray:
        if not self._format:
            self._format, self._size = _float_format(frame), (frame.width, frame.height)
        if self._format.startswith("rgb"):
            return self._convert(frame).astype(np.float32) / 255
        if frame.width % _ALIGNED == 0 or (frame.width, frame.height) != self._size or not _Border.has_room(frame):
            return self._convert(frame)
        if self._border is None or not self._border.fits(frame):
            self._border = _Border(frame)
        width, height = self._size
        padded = self._border.add(frame)
        return np.ascontiguousarray(self._reformatter.reformat(padded, format=self._format).to_ndarray()[:height, :width])

    def _convert(self, frame: av.VideoFrame) -> np.ndarray:
        width, height = self._size
        return self._reformatter.reformat(frame, width, height, self._format).to_ndarray()


class _Border:
    """Repeats the right and bottom pixels of frames up to a multiple of 32."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._of = (frame.width, frame.height, frame.format.name)
        right, bottom = (-side % _ALIGNED for side in (frame.width, frame.height))
        graph = Graph()
        steps = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)),
            graph.add("pad", f"{frame.width + right}:{frame.height + bottom}:0:0"),
            graph.add("fillborders", f"left=0:right={right}:top=0:bottom={bottom}:mode=smear"),
            graph.add("buffersink"),
        ]
        for step, following in zip(steps, steps[1:]):
            step.link_to(following)
        graph.configure()
        self._graph, self._first, self._last = graph, steps[0], steps[-1]

    @staticmethod
    def has_room(frame: av.VideoFrame) -> bool:
        """Whether FFmpeg can fill the border of a frame: not if it is larger than the frame."""
        return all(-side % _ALIGNED <= side for side in (frame.width, frame.height))

    def fits(self, frame: av.VideoFrame) -> bool:
        return self._of == (frame.width, frame.height, frame.format.name)

    def add(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._first.push(frame)
        padded = self._last.pull()
        assert isinstance(padded, av.VideoFrame)
        return padded


def _float_format(frame: av.VideoFrame) -> str:
    """Return the format that ComfyUI converts a frame to."""
    alpha = frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)
    if frame.format.name in _AS_BYTES:
        return "rgba" if alpha else "rgb24"
    return "gbrapf32le" if alpha else "gbrpf32le"
