"""Read from a video file the frames that a clip shows, without holding the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import torch
from torch import Tensor

from ..shapes import VideoShape
from .fit import fit_frames
from .float_frames import FloatFrames
from .read import VideoFile
from .settings import validate_fps
from .sources import explain_damage
from .upright import Turns

_ROUNDING = Fraction(3, 2000)  # seconds; stamps in milliseconds are this close to even times


@dataclass(frozen=True)
class SelectedFrames:
    """The frames that a clip shows, already fitted to its size.

    shape: of all frames that were read, [N, H, W, 3]; fps: their mean rate.
    fitted: one frame [height, width, 3] per frame of the clip, as far as the video reaches. last: its last frame.
    """

    shape: tuple[int, int, int, int]
    fps: Fraction
    fitted: tuple[Tensor, ...]
    last: Tensor

    def __len__(self) -> int:
        return self.shape[0]

    def clip(self, frames: int) -> Tensor:
        """Return the `frames` frames of a clip, [frames, height, width, 3]; the last one is repeated."""
        return torch.stack([*self.fitted[:frames], *[self.last] * (frames - len(self.fitted))])


def select_frames(
    file: VideoFile, shape: VideoShape, until: int | None = None, on_frame: Callable[[], object] = lambda: None
) -> SelectedFrames:
    """Read the frames for a clip of `shape`, whose number of frames does not matter.

    Each frame of the clip is the last one that is shown at its time. until: how many frames of the clip are needed; None for
    as many as the video lasts. on_frame: called after each frame that is read.
    """
    fit, fitted, times, shown = _Fit(file, shape), list[Tensor](), _EvenTimes(validate_fps(file.fps)), None
    for frame, stamp in file.decode_frames():
        begin = times.next(stamp)
        while shown is not None and len(fitted) / shape.fps < begin and (until is None or len(fitted) < until):
            fitted.append(fit.image(shown))
        shown = frame
        if until is not None and len(fitted) >= until:
            file.skip_frames()
        on_frame()
    assert shown is not None
    height, width = fit.given(shown)
    return SelectedFrames((file.frames, height, width, 3), times.mean_fps(), tuple(fitted), fit.image(shown))


class _EvenTimes:
    """Replaces times that are even but for rounding by exact ones."""

    def __init__(self, fps: Fraction) -> None:
        self._fps, self._count, self._last, self._is_even = fps, 0, Fraction(0), True

    def next(self, time: Fraction) -> Fraction:
        even = self._count / self._fps
        self._last, is_even = time, abs(time - even) <= _ROUNDING
        self._is_even &= is_even
        self._count += 1
        return even if is_even else time - _ROUNDING

    def mean_fps(self) -> Fraction:
        return self._fps if self._is_even else validate_fps(self._count / (self._last + 1 / self._fps))


class _Fit:
    """Fits single frames to a clip's size. The values are those that ComfyUI's loader gives."""

    def __init__(self, file: VideoFile, shape: VideoShape) -> None:
        self._source, self._fps, self._shape = file.source, file.fps, replace(shape, frames=1)
        self._floats, self._turns = FloatFrames(), Turns()
        self._last: tuple[av.VideoFrame, Tensor] | None = None

    def given(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return the height and width of the upright frame."""
        width, height = self._turns.of(frame).size(frame.width, frame.height)
        return height, width

    def image(self, frame: av.VideoFrame) -> Tensor:
        if self._last is None or self._last[0] is not frame:
            with explain_damage(self._source):
                pixels = self._turns.of(frame).apply(torch.from_numpy(self._floats.convert(frame)[..., :3]))
            self._last = frame, fit_frames(pixels[None], self._fps, self._shape)[0]
        return self._last[1]
