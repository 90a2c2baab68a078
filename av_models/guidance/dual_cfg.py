"""Dual CFG of MOVA (arXiv 2602.08794): one scale for the prompt and one for the cross-modal interaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract import CUT
from .base import NEGATIVE, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class DualCFG(AffineGuidance):
    """Compute P(∅,0) + s_x [P(∅,1) − P(∅,0)] + s_c [P(c,1) − P(∅,1)].

    `*_scale` is s_c and `*_cross_scale` is s_x. If both are equal, the formula is that of JointCFG and P(∅,1) is not run.
    """

    name = "dual_cfg"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    video_cross_scale: float = 2.5
    audio_cross_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of P(∅,0), P(∅,1) and P(c,1)."""
        s_c = Weight(self.video_scale, self.audio_scale)
        s_x = Weight(self.video_cross_scale, self.audio_cross_scale)
        return [
            (replace(NEGATIVE, coupling=CUT), Weight(1 - s_x.video, 1 - s_x.audio)),
            (NEGATIVE, Weight(s_x.video - s_c.video, s_x.audio - s_c.audio)),
            (POSITIVE, s_c),
        ]
