"""Turn decoded video frames into upright RGB tensors."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import av
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

_ROUNDED = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EXACT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INP | _ROUNDED  # the default loses half a step on average
SMALL = Interpolation.AREA | _ROUNDED


class Turn(NamedTuple):
    """How a stored frame becomes upright: first `transposed` (rows and columns exchanged), then flipped."""

    transposed: bool = False
    flip_vertical: bool = False
    flip_horizontal: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height after the turn, or before it."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, image: Tensor) -> Tensor:
        """Turn an image [H, W, C]."""
        image = image.transpose(0, 1) if self.transposed else image
        flipped = [axis for axis, flip in enumerate((self.flip_vertical, self.flip_horizontal)) if flip]
        return image.flip(flipped) if flipped else image.contiguous()


def find_turn(frame: av.VideoFrame) -> Turn:
    """Return how a frame is to be turned, from its display matrix: to the nearest multiple of 90 degrees, and mirrored."""
    matrix: Any
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV does not know
        matrix = None
    if matrix is None:
        return Turn()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))  # maps x, y to a·x + c·y, b·x + d·y
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, d < 0, a < 0)
    return Turn(True, b < 0, c < 0)


class UprightFrames:
    """Converts frames to upright RGB images of one size, uint8 [H, W, 3].

    size: width and height of the images; None for those of the first frame. Scaling to a small size is much cheaper than
    converting whole frames.
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self._size, self._is_small, self._reformatter = size, size is not None, VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> Tensor:
        turn = find_turn(frame)
        self._size = self._size or turn.size(frame.width, frame.height)
        width, height = turn.size(*self._size)
        flags = SMALL if self._is_small else EXACT
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=flags, threads=1)
        return turn.apply(torch.from_numpy(rgb.to_ndarray()))
