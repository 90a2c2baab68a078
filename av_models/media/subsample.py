"""Take every n-th pixel of a decoded frame before it is converted to RGB, which saves most of the conversion."""

from __future__ import annotations

import re

import av
import numpy as np
from av.video.plane import VideoPlane

_PLANAR = re.compile(r"yuv([aj]?)4\d\dp(?:(9|1[0-6])le)?")  # alpha or full range, bits


def subsample(frame: av.VideoFrame, step: int) -> av.VideoFrame | None:
    """Return every `step`-th row and column of a frame, from the first; None for pixel formats that are not planar YUV.

    The result has the nearest colour of each pixel, without alpha.
    """
    planar = _PLANAR.fullmatch(frame.format.name)
    if planar is None or any(plane.line_size <= 0 for plane in frame.planes):
        return None
    kind, bits = planar.groups()
    rows, columns = (np.arange(0, side, step) for side in (frame.height, frame.width))
    name = f"yuv{'j' if kind == 'j' else ''}444p{f'{bits}le' if bits else ''}"
    thin = av.VideoFrame(len(columns), len(rows), name)
    for of, to in zip(frame.planes[:3], thin.planes):
        y, x = rows * of.height // frame.height, columns * of.width // frame.width
        pixels = _pixels(of, bits)
        room = np.zeros((to.height, to.line_size // pixels.itemsize), pixels.dtype)
        room[:, : to.width] = pixels[y][:, x]
        to.update(room.tobytes())
    thin.colorspace, thin.color_range = frame.colorspace, frame.color_range
    return thin


def _pixels(plane: VideoPlane, bits: str | None) -> np.ndarray:
    """Return a view of the pixels of a plane, [H, line]."""
    dtype = np.dtype("<u2" if bits else np.uint8)
    line = plane.line_size // dtype.itemsize
    return np.frombuffer(memoryview(plane), dtype, line * plane.height).reshape(plane.height, line)
