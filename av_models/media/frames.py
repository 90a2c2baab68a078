"""Pictures on their way into an encoder: one at a time, checked, 8 bits, even size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor


def count_frames(frames: Tensor | Iterable[Tensor]) -> int | None:
    """How many pictures `frames` holds, or None where only running through it would tell."""
    if isinstance(frames, Tensor):
        frames = [frames]
    if not isinstance(frames, (list, tuple)):
        return None
    return sum(1 if chunk.ndim == 3 else len(chunk) for chunk in frames)


def iter_frames(frames: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    """Single pictures [H, W, C] from pictures, chunks [T, H, W, C], or one tensor of either kind."""
    for chunk in [frames] if isinstance(frames, Tensor) else frames:
        if chunk.ndim not in (3, 4):
            shape = list(chunk.shape)
            raise ValueError(f"frames have shape {shape}; give [height, width, 3] or [frames, height, width, 3]")
        yield from chunk if chunk.ndim == 4 else (chunk,)


def to_rgb8(frame: Tensor, index: int) -> np.ndarray:
    """A picture [H, W, C], floats 0..1 (or uint8), as uint8 [H, W, 3].

    Grey (C = 1) becomes RGB, alpha (C = 4) is dropped, and values outside 0..1 are clipped. Raises ValueError,
    naming frame `index`, for NaN or infinity, another number of channels, or a type that is neither float nor uint8.
    """
    height, width, channels = frame.shape
    if channels not in (1, 3, 4) or 0 in (height, width):
        shape = list(frame.shape)
        raise ValueError(f"frame {index} has shape {shape}; give [height, width, channels] of 1, 3 or 4 channels")
    return np.ascontiguousarray(_to_uint8(frame[..., :3], index).expand(height, width, 3).cpu().numpy())


def _to_uint8(frame: Tensor, index: int) -> Tensor:
    if frame.dtype == torch.uint8:
        return frame
    if not frame.is_floating_point():
        raise ValueError(f"frame {index} is of type {frame.dtype}; give floats 0..1 or uint8")
    low, high = torch.aminmax(frame.detach())
    if not torch.isfinite(high.float() - low.float()):
        raise ValueError(f"frame {index} holds NaN or infinity; check the decoder (its precision?) before saving")
    return frame.detach().float().mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
