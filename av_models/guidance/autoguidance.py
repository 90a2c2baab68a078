"""Autoguidance (Karras et al., arXiv 2406.02507): away from a worse version of the same model."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import FULL, REMOVED
from .base import AffineGuidance, Branch, Weight
from .cfg import against


@dataclass(frozen=True, kw_only=True)
class Autoguidance(AffineGuidance):
    """P_bad(c,1) + s [P(c,1) − P_bad(c,1)] (eq. 3 there, w = s).

    `bad_removed`: the bad model runs with its joint parameters dropped, which one that was never trained as a pair
    needs. Default scales: 2, near the paper's best for EDM2.
    """

    name = "autoguidance"
    video_scale: float = 2.0
    audio_scale: float = 2.0
    bad_removed: bool = False

    def weights(self) -> list[tuple[Branch, Weight]]:
        bad = Branch(model="bad", coupling=REMOVED if self.bad_removed else FULL)
        return against(bad, self.video_scale, self.audio_scale)
