"""Autoguidance (Karras et al., arXiv 2406.02507): guidance by a weaker version of the same model."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import FULL, REMOVED
from .base import AffineGuidance, Branch, Weight
from .cfg import cfg_weights


@dataclass(frozen=True, kw_only=True)
class Autoguidance(AffineGuidance):
    """Compute P_bad(c,1) + s [P(c,1) − P_bad(c,1)] (eq. 3, w = s), where P_bad is the weaker model's prediction.

    bad_removed: run the weaker model without its joint layers. Use this if its joint layers are untrained.
    The default scales, 2, are close to the paper's best for EDM2.
    """

    name = "autoguidance"
    video_scale: float = 2.0
    audio_scale: float = 2.0
    bad_removed: bool = False

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return both models' branches; the weaker model's is the reference."""
        bad = Branch(model="bad", coupling=REMOVED if self.bad_removed else FULL)
        return cfg_weights(bad, self.video_scale, self.audio_scale)
