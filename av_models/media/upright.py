"""Turn decoded video frames into upright RGB tensors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from .subsample import subsample

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


class Turns:
    """Finds the turns of frames. A frame whose side data is read is kept until Python collects garbage, so few are read."""

    def __init__(self) -> None:
        self._by_angle: dict[int, Turn] = {}

    def of(self, frame: av.VideoFrame) -> Turn:
        angle = frame.rotation
        if angle not in self._by_angle:
            self._by_angle[angle] = find_turn(frame)
        return self._by_angle[angle]


class UprightFrames:
    """Converts frames to upright RGB images of one size, uint8 [H, W, 3].

    size: width and height of the images; None for those of the first frame. Scaling to a small size is much cheaper than
    converting whole frames.
    step_for: returns, for the width and height of the first frame, n of every n-th row and column that the images consist
    of. This is cheaper still, and the values are those of whole frames. It is not used with `size`.

    shown: upright width and height of the first frame, once it is converted.
    """

    shown: tuple[int, int] | None = None

    def __init__(self, size: tuple[int, int] | None = None, step_for: Callable[[int, int], int] = lambda width, height: 1) -> None:
        self._size, self._step_for, self._flags = size, step_for, EXACT if size is None else SMALL
        self._reformatter, self._step, self._turns = VideoReformatter(), 1, Turns()

    def convert(self, frame: av.VideoFrame) -> Tensor:
        turn = self._turns.of(frame)
        if self.shown is None:
            self.shown = turn.size(frame.width, frame.height)
            self._step = 1 if self._size else self._step_for(*self.shown)
        width, height = turn.size(*(self._size or self.shown))
        return turn.apply(self._to_rgb(frame, width, height))

    def _to_rgb(self, frame: av.VideoFrame, width: int, height: int) -> Tensor:
        """Return every n-th pixel of a frame as if it were converted to RGB of a size."""
        step = self._step
        thin = subsample(frame, step) if step > 1 and (frame.width, frame.height) == (width, height) else None
        if thin is not None:
            frame, width, height, step = thin, thin.width, thin.height, 1
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=self._flags, threads=1)
        return torch.from_numpy(np.ascontiguousarray(rgb.to_ndarray()[::step, ::step]))  # torch would start threads to copy it
