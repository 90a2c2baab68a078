"""Strided convolutions over a single column in float32, where the rest of a loss is computed in bfloat16.

Their weight gradient in bfloat16 is wrong on a CPU, and sometimes NaN (oneDNN in torch 2.11). An audio latent with one band is
such a single column.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .patched import patch_function


def strided_in_float32() -> AbstractContextManager[None]:
    """Make `torch.nn.functional.conv2d` compute strided convolutions over a single column in float32, without autocast."""
    conv2d = F.conv2d

    def convolve(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, ...] = 1, *args: Any, **kwargs: Any
    ) -> Tensor:
        is_affected = x.shape[-1] == 1 and max(stride if isinstance(stride, tuple) else (stride,)) > 1
        if not is_affected:
            return conv2d(x, weight, bias, stride, *args, **kwargs)
        with torch.autocast(x.device.type, enabled=False):
            return conv2d(x.float(), weight, bias, stride, *args, **kwargs)

    return patch_function(F, "conv2d", convolve)
