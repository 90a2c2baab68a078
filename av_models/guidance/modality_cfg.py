"""Multimodal guidance of LTX-2 (arXiv 2601.03233): a scale each for the prompt, the other modality and a skipped block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract import CUT
from .base import NEGATIVE, OWN_BLOCK, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class ModalityCFG(AffineGuidance):
    """Compute P(c,1) + (s_c−1) [P(c,1) − P(∅,1)] + (s_x−1) [P(c,1) − P(c,0)] + (s_g−1) [P(c,1) − P_skip] in x0 space.

    `*_scale` is s_c, `*_cross_scale` is s_x, and `*_skip_scale` is s_g. All scales are 1 for no guidance; LTX-2 counts its
    skip scale from 0. P_skip is a prediction that skips the block `skip_block` (LTX-2 skips its self-attention only).
    x0 space is the space in which LTX-2 rescales. LTX-2 samples with s_c = 3 for video and 7 for audio, s_x = 3, s_g = 2 (1 as
    LTX-2 counts), and rescale 0.7; LTX-2.3 with rescale 0.9 for video and 0.7 for audio.
    """

    name = "modality_cfg"
    space = "x0"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    video_cross_scale: float = 2.5
    audio_cross_scale: float = 2.5
    video_skip_scale: float = 1.0
    audio_skip_scale: float = 1.0
    skip_block: int = OWN_BLOCK

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of P(c,1), P(∅,1), P(c,0) and P_skip."""
        prompt = Weight(1 - self.video_scale, 1 - self.audio_scale)
        cross = Weight(1 - self.video_cross_scale, 1 - self.audio_cross_scale)
        skip = Weight(1 - self.video_skip_scale, 1 - self.audio_skip_scale)
        rest = prompt + cross + skip
        return [
            (POSITIVE, Weight(1 - rest.video, 1 - rest.audio)),
            (NEGATIVE, prompt),
            (replace(POSITIVE, coupling=CUT), cross),
            (replace(POSITIVE, skip_block=self.skip_block), skip),
        ]
