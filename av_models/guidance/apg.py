"""Adaptive projected guidance (Sadat et al., arXiv 2410.02416): high scales without over-saturation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import TwoBranchGuidance, dot


@dataclass(frozen=True, kw_only=True)
class APG(TwoBranchGuidance):
    """c + (s−1) [Δ⊥ + η Δ∥], in x0 space: the part of Δ = c − u along c, which over-saturates, weighs η (section 4).

    Δ first gets reverse momentum, Δ ← Δ + β Δ_before (eq. 10 there), then at most the norm `norm_threshold` (eq. 9).
    Defaults: the paper's η = 0 and β = −0.5, CFG's scales; the paper's thresholds (2.5 to 15) are for latents of its
    models' sizes, so that there is none (0) until one is given.
    """

    name = "apg"
    space = "x0"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    eta: float = 0.0
    momentum: float = -0.5
    norm_threshold: float = 0.0

    def guided(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        moving = c - u if state is None else c - u + self.momentum * state
        delta = moving
        if self.norm_threshold > 0:
            delta = delta * (self.norm_threshold / dot(delta, delta).sqrt().clamp_min(1e-12)).clamp_max(1)
        parallel = dot(delta, c) / dot(c, c).clamp_min(1e-12) * c
        return c + (scale - 1) * (delta - parallel + self.eta * parallel), moving
