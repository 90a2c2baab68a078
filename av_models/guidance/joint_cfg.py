"""Joint guidance of JointDiT (Wang et al., CVPR 2025, "Animate and Sound an Image"): JointCFG and JointCFG*.

The negative lacks both the prompt and the other modality, so guidance strengthens what the two say to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract import CUT, REMOVED
from .base import NEGATIVE, AffineGuidance, Branch, Weight
from .cfg import against


@dataclass(frozen=True, kw_only=True)
class JointCFG(AffineGuidance):
    """P(c,1) + ω [P(c,1) − P(∅,0)] with s = 1 + ω; 0 is `cut`: the same weights, cross-modal keys dropped."""

    name = "joint_cfg"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        return against(replace(NEGATIVE, coupling=CUT), self.video_scale, self.audio_scale)


@dataclass(frozen=True, kw_only=True)
class JointCFGStar(AffineGuidance):
    """JointCFG with the joint attention `removed` from the negative (see `CouplingKind`)."""

    name = "joint_cfg_star"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        return against(replace(NEGATIVE, coupling=REMOVED), self.video_scale, self.audio_scale)
