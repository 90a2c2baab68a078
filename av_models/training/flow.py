"""Rectified flow (arXiv 2209.03003) as AVFullDiT trains it: x_t = (1−t) x_0 + t ε, target ε − x_0."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def batch_generator(step: int, stream: int, rank: int) -> np.random.Generator:
    """What decides a batch: the step, which stage it is for (`stream`), and the process among several."""
    return np.random.default_rng([step, stream, rank] if rank else [step, stream])


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def draw_time(rows: int, loc: float, scale: float, device: torch.device) -> Tensor:
    """t [B] in (0, 1), logit-normal (arXiv 2403.03206, section 3.1)."""
    return torch.sigmoid(loc + scale * torch.randn(rows)).to(device)


def noised(x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and the velocity that leads from it. Noise is drawn on the CPU, so that it is the same on every device."""
    noise = torch.randn(x0.shape).to(x0.device)
    along = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - along) * x0 + along * noise, noise - x0
