"""No guidance, and classifier-free guidance (CFG; Ho & Salimans, arXiv 2207.12598, eq. 6) with one scale per modality."""

from __future__ import annotations

from dataclasses import dataclass

from .base import NEGATIVE, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class NoGuidance(AffineGuidance):
    """Return P(c,1), the prediction with the prompt. Runs one branch per step."""

    name = "none"

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the prompt's branch with weight 1."""
        return [(POSITIVE, Weight(1.0, 1.0))]


@dataclass(frozen=True, kw_only=True)
class CFG(AffineGuidance):
    """Compute P(∅,1) + s [P(c,1) − P(∅,1)]. AVFullDiT samples with 5.0 for video and 4.5 for audio (arXiv 2512.02457)."""

    name = "cfg"
    video_scale: float = 2.5
    audio_scale: float = 2.5

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of the negative prompt and of the prompt."""
        return cfg_weights(NEGATIVE, self.video_scale, self.audio_scale)


def cfg_weights(negative: Branch, video_scale: float, audio_scale: float) -> list[tuple[Branch, Weight]]:
    """Return the branches and weights of P_neg + s [P(c,1) − P_neg], where P_neg is the prediction of the `negative` branch."""
    return [(negative, Weight(1 - video_scale, 1 - audio_scale)), (POSITIVE, Weight(video_scale, audio_scale))]
