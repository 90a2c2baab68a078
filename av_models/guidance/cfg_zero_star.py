"""CFG-Zero* (Fan et al., arXiv 2503.18886): CFG for flow models, with an optimised negative and a late start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import Branch, TwoBranchGuidance, dot
from .step import Step


@dataclass(frozen=True, kw_only=True)
class CFGZeroStar(TwoBranchGuidance):
    """α u + s [c − α u] with α = ⟨c, u⟩ / ‖u‖² (Algorithm 1 there); c = P(c,1), u = P(∅,1), flow velocities.

    For the first `zero_steps` steps the velocity is zero (zero-init) and nothing is run. Defaults: the paper's zero-init
    of one step, and CFG's scales.
    """

    name = "cfg_zero_star"
    space = "flow"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    zero_steps: int = 1

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        branches = super().formula_branches(step)
        if len(branches) == 1 or step.index >= self.zero_steps:
            return branches
        if self.zero_steps >= step.count:
            raise ValueError(f"zero_steps is {self.zero_steps} of {step.count} steps: all of them; give fewer")
        return []

    def guided(self, c: Tensor, u: Tensor, scale: float | Tensor, state: None) -> tuple[Tensor, None]:
        u = dot(c, u) / dot(u, u).clamp_min(1e-12) * u
        return u + scale * (c - u), state
