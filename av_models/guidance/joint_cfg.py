"""Joint guidance of JointDiT (Wang et al., "Animate and Sound an Image", CVPR 2025): JointCFG and JointCFG*.

The negative branch has neither the prompt nor the other modality. Guidance thus strengthens both the prompt and the
correspondence of video and audio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract import CUT, REMOVED
from .base import NEGATIVE, AffineGuidance, Branch, Weight
from .cfg import cfg_weights


@dataclass(frozen=True, kw_only=True)
class JointCFG(AffineGuidance):
    """Compute P(c,1) + ω [P(c,1) − P(∅,0)] with s = 1 + ω.

    The negative branch is `cut`: it has the same weights, without the keys and values of the other modality.
    """

    name = "joint_cfg"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of P(∅,0), cross-modal keys dropped, and P(c,1)."""
        return cfg_weights(replace(NEGATIVE, coupling=CUT), self.video_scale, self.audio_scale)


@dataclass(frozen=True, kw_only=True)
class JointCFGStar(AffineGuidance):
    """Compute JointCFG with the joint layers `removed` from the negative branch (see `CouplingKind`)."""

    name = "joint_cfg_star"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of P(∅,0), joint layers removed, and P(c,1)."""
        return cfg_weights(replace(NEGATIVE, coupling=REMOVED), self.video_scale, self.audio_scale)
