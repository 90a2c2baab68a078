"""Prepare frames for a video encoder: one at a time, checked, as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor


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
    height, width, channels = frame.shape
    if channels not in (1, 3, 4) or 0 in (height, width):
        shape = list(frame.shape)
        raise ValueError(f"frame {index} has shape {shape}; give [height, width, channels] with 1, 3 or 4 channels")
    return np.ascontiguousarray(_to_uint8(frame[..., :3], index).expand(height, width, 3).cpu().numpy())


def _to_uint8(frame: Tensor, index: int) -> Tensor:
    if frame.dtype == torch.uint8:
        return frame
    if not frame.is_floating_point():
        raise ValueError(f"frame {index} has dtype {frame.dtype}; give floats 0..1 or uint8")
    low, high = torch.aminmax(frame.detach())
    if not torch.isfinite(high.float() - low.float()):
        raise ValueError(f"frame {index} contains NaN or infinity; check the video decoder and its precision")
    return frame.detach().float().mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
