"""No guidance, and classifier-free guidance (Ho & Salimans, arXiv 2207.12598, eq. 6), one scale per modality."""

from __future__ import annotations

from dataclasses import dataclass

from .base import NEGATIVE, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class NoGuidance(AffineGuidance):
    """P(c,1): the prompt alone, one branch."""

    name = "none"

    def weights(self) -> list[tuple[Branch, Weight]]:
        return [(POSITIVE, Weight(1.0, 1.0))]


@dataclass(frozen=True, kw_only=True)
class CFG(AffineGuidance):
    """P(∅,1) + s [P(c,1) − P(∅,1)]. AVFullDiT samples with 5.0 for video and 4.5 for audio (arXiv 2512.02457)."""

    name = "cfg"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        return against(NEGATIVE, self.video_scale, self.audio_scale)


def against(negative: Branch, video_scale: float, audio_scale: float) -> list[tuple[Branch, Weight]]:
    """negative + s [P(c,1) − negative], per modality."""
    return [(negative, Weight(1 - video_scale, 1 - audio_scale)), (POSITIVE, Weight(video_scale, audio_scale))]
