"""Weights that anyone can write down, so that two implementations of a network can be compared by numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def by_formula(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Waves instead of weights, 1 more for the scales of norms; −∞ stays where a mask has it."""
    made = {}
    for name, tensor in tensors.items():
        if name.endswith("mask"):
            made[name] = tensor
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + len(name)).view(tensor.shape)
        is_scale = "norm" in name and name.endswith("weight")
        made[name] = (is_scale + 0.2 * wave).to(tensor.dtype)
    return made
