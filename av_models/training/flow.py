"""Rectified flow (arXiv 2209.03003) as AVFullDiT is trained: x_t = (1−t) x_0 + t ε, target ε − x_0. Helpers to draw batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def batch_generator(step: int, stream: int, rank: int) -> np.random.Generator:
    """Return the random generator of a batch. stream: a number for each kind of stage. rank: of the process among several."""
    return np.random.default_rng([step, stream, rank] if rank else [step, stream])


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def draw_time(rows: int, loc: float, scale: float, device: torch.device) -> Tensor:
    """Draw t [rows] in (0, 1) from a logit-normal distribution (arXiv 2403.03206, section 3.1), on the CPU, moved to `device`."""
    return torch.sigmoid(loc + scale * torch.randn(rows)).to(device)


def add_noise(x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_t and the velocity ε − x_0 for x0 [B, …] and t [B]. Noise is drawn on the CPU, so it is equal on every device."""
    noise = torch.randn(x0.shape).to(x0.device)
    t = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * noise, noise - x0
