"""CFG-Zero* (Fan et al., arXiv 2503.18886): CFG for flow models with a scaled negative prediction and zero-init steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import Branch, TwoBranchGuidance, dot
from .step import Step


@dataclass(frozen=True, kw_only=True)
class CFGZeroStar(TwoBranchGuidance):
    """Compute α u + s [c − α u] with α = ⟨c, u⟩ / ‖u‖² (Algorithm 1), for flow velocities c = P(c,1) and u = P(∅,1).

    In the first `zero_steps` steps the velocity is zero (zero-init) and no branch is run. The default is the paper's, one
    zero-init step.
    """

    name = "cfg_zero_star"
    space = "flow"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    zero_steps: int = 1

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        """Return no branch in the zero-init steps. Raises ValueError if all steps of the run are zero-init steps."""
        branches = super().formula_branches(step)
        if len(branches) == 1 or step.index >= self.zero_steps:
            return branches
        if self.zero_steps >= step.count:
            raise ValueError(f"zero_steps is {self.zero_steps}, but the run has {step.count} steps; use fewer zero_steps")
        return []

    def guide(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the guided velocity; the strategy has no state."""
        u = dot(c, u) / dot(u, u).clamp_min(1e-12) * u
        return u + scale * (c - u), state
