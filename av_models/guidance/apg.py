"""Adaptive projected guidance (APG; Sadat et al., arXiv 2410.02416): high guidance scales without over-saturation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import TwoBranchGuidance, dot


@dataclass(frozen=True, kw_only=True)
class APG(TwoBranchGuidance):
    """Compute c + (s−1) [Δ⊥ + η Δ∥] in x0 space, with Δ = c − u split into parts orthogonal and parallel to c (section 4).

    The parallel part causes over-saturation; `eta` (η) is its weight. Before the split, Δ gets reverse momentum,
    Δ ← Δ + β Δ_previous (eq. 10), and its norm is limited to `norm_threshold` (eq. 9; 0 turns the limit off).

    The defaults of η and β are the paper's, 0 and −0.5. There is no norm limit by default: the paper's thresholds, 2.5 to
    15, depend on the latent size of its models.
    """

    name = "apg"
    space = "x0"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    eta: float = 0.0
    momentum: float = -0.5
    norm_threshold: float = 0.0

    def guide(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the guided prediction, and Δ with momentum as the state for the next step."""
        with_momentum = c - u if state is None else c - u + self.momentum * state
        delta = with_momentum
        if self.norm_threshold > 0:
            delta = delta * (self.norm_threshold / dot(delta, delta).sqrt().clamp_min(1e-12)).clamp_max(1)
        parallel = dot(delta, c) / dot(c, c).clamp_min(1e-12) * c
        return c + (scale - 1) * (delta - parallel + self.eta * parallel), with_momentum
