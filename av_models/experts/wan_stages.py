"""Wan 2.2 A14B as one expert: two Wan transformers, one for high noise and one for low noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..limits import LatentLimits
from ..path import FLOW
from .wan import WanExpert

BOUNDARY = 0.875  # of T2V-A14B


class WanStages(nn.Module):
    """Predicts the flow velocity as `WanExpert` does, with `high` from t = `boundary` to 1 and with `low` below it."""

    path = FLOW
    prediction: Prediction = "flow"
    why_not_woven = "Wan 2.2 A14B has two networks, and joint layers belong to the blocks of one"

    def __init__(self, high: WanExpert, low: WanExpert, boundary: float = BOUNDARY) -> None:
        super().__init__()
        self.high, self.low, self.boundary = high, low, boundary

    @property
    def limits(self) -> LatentLimits:
        """The latents that both transformers take."""
        return self.high.limits

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """Return the velocity, shaped as the latent [B, C, T, H, W]; t [B] in 0..1."""
        is_high = (t if t.ndim == 1 else t.amax(1)) >= self.boundary
        if bool(is_high.all()):
            return self.high(latent, t, text)
        if not bool(is_high.any()):
            return self.low(latent, t, text)
        out = torch.empty_like(latent, dtype=torch.float32)
        for rows, expert in ((is_high, self.high), (~is_high, self.low)):
            out[rows] = expert(latent[rows], t[rows], text.each(lambda part: part[rows]))  # noqa: B023 (called at once)
        return out
