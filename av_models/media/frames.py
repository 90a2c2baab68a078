"""Prepare frames for a video encoder: one at a time, checked, as RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from .convert import WHITE_16


def count_frames(frames: Tensor | Iterable[Tensor]) -> int | None:
    """Return the number of frames in a tensor or a list; None for other iterables, whose length is not known in advance."""
    if isinstance(frames, Tensor):
        frames = [frames]
    if not isinstance(frames, (list, tuple)):
        return None
    return sum(1 if chunk.ndim == 3 else len(chunk) for chunk in frames)


def iter_frames(frames: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield single frames [H, W, C] from a tensor or an iterable of tensors, each [H, W, C] or [T, H, W, C].

    Raises ValueError for a tensor with another number of dimensions.
    """
    for chunk in [frames] if isinstance(frames, Tensor) else frames:
        if chunk.ndim not in (3, 4):
            shape = list(chunk.shape)
            raise ValueError(f"frames have shape {shape}; give [height, width, 3] or [frames, height, width, 3]")
        yield from chunk if chunk.ndim == 4 else (chunk,)


def to_rgb8(frame: Tensor, index: int) -> np.ndarray:
    """Convert a frame [H, W, C], float 0..1 or uint8, to uint8 [H, W, 3].

    Grey (C = 1) becomes RGB, alpha (C = 4) is dropped, and values outside 0..1 are clipped.
    Raises ValueError, which names frame `index`, for NaN or infinity, another number of channels, or another dtype.
    """
    height, width, _ = _checked(frame, index).shape
    return np.ascontiguousarray(_quantised(frame[..., :3], index, 255).expand(height, width, 3).cpu().numpy())


def to_rgba8(frame: Tensor, index: int) -> np.ndarray:
    """Convert a frame as `to_rgb8` does, but to uint8 [H, W, 4] with its alpha; frames without alpha are opaque."""
    return np.concatenate([to_rgb8(frame, index), _alpha(frame, index, 255)], -1)


def to_rgb16(frame: Tensor, index: int) -> np.ndarray:
    """Convert a frame as `to_rgb8` does, but to uint16 [H, W, 3] in 0..`WHITE_16`."""
    height, width, _ = _checked(frame, index).shape
    return np.ascontiguousarray(_quantised(frame[..., :3], index, WHITE_16).expand(height, width, 3).cpu().numpy().astype("<u2"))


def to_rgba16(frame: Tensor, index: int) -> np.ndarray:
    """Convert a frame as `to_rgb16` does, with alpha in 0..65535."""
    return np.concatenate([to_rgb16(frame, index), _alpha(frame, index, 65_535)], -1)


def _checked(frame: Tensor, index: int) -> Tensor:
    if frame.shape[2] not in (1, 3, 4) or 0 in frame.shape[:2]:
        shape = list(frame.shape)
        raise ValueError(f"frame {index} has shape {shape}; give [height, width, channels] with 1, 3 or 4 channels")
    return frame


def _alpha(frame: Tensor, index: int, opaque: int) -> np.ndarray:
    dtype = "u1" if opaque == 255 else "<u2"
    if frame.shape[2] != 4:
        return np.full((*frame.shape[:2], 1), opaque, dtype)
    return _quantised(frame[..., 3:], index, opaque).cpu().numpy().astype(dtype)


def _quantised(frame: Tensor, index: int, white: int) -> Tensor:
    """Convert to whole numbers in 0..white: uint8 up to 255, else int32."""
    if frame.dtype == torch.uint8:
        return frame if white == 255 else frame.int() * white // 255
    if not frame.is_floating_point():
        raise ValueError(f"frame {index} has dtype {frame.dtype}; give floats 0..1 or uint8")
    low, high = torch.aminmax(frame.detach())
    if not torch.isfinite(high.float() - low.float()):
        raise ValueError(f"frame {index} contains NaN or infinity; check the video decoder and its precision")
    scaled = frame.detach().float().mul(white).add_(0.5).clamp_(0, white)
    return scaled.to(torch.uint8 if white == 255 else torch.int32)
