"""Strided convolutions over a single column, which stay in float32 where the rest of a loss is in bfloat16.

There oneDNN's weight gradient is wrong, now and then NaN (torch 2.11 on a CPU), and a sound of one band is a single column.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F

from .patched import swapped


def strided_in_float32() -> AbstractContextManager[None]:
    """`torch.nn.functional.conv2d` leaves autocast out, where it must, while this lasts."""
    plain = F.conv2d

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, *args, **kwargs) -> Tensor:
        wrong = x.shape[-1] == 1 and max(stride if isinstance(stride, tuple) else (stride,)) > 1
        if not wrong:
            return plain(x, weight, bias, stride, *args, **kwargs)
        with torch.autocast(x.device.type, enabled=False):
            return plain(x.float(), weight, bias, stride, *args, **kwargs)

    return swapped(F, "conv2d", convolve)
