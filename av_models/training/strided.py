"""Strided convolutions out of autocast's reach.

oneDNN's bfloat16 weight gradient of a strided convolution over a single column is wrong, now and then NaN (torch 2.11 on a
CPU), and a sound of one band is a single column.
"""

from __future__ import annotations

from functools import partial

import torch
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn


def strided_in_float32(unet: nn.Module) -> None:
    for module in unet.modules():
        if isinstance(module, Downsample2D):
            module.forward = partial(_without_autocast, module.forward)


def _without_autocast(forward, hidden: Tensor, *args, **kwargs) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return forward(hidden.float(), *args, **kwargs)
