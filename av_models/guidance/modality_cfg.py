"""Multimodal guidance of LTX-2 (arXiv 2601.03233): prompt, other modality and skipped block, a scale for each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract import CUT
from .base import NEGATIVE, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class ModalityCFG(AffineGuidance):
    """P(c,1) + (s_c−1) [P(c,1) − P(∅,1)] + (s_x−1) [P(c,1) − P(c,0)] + (s_g−1) [P(c,1) − P_skip].

    `*_scale` is s_c, `*_cross_scale` s_x, `*_skip_scale` s_g, which LTX-2 counts from 0 and we from 1, as every scale;
    P_skip does without the whole of block `skip_block` (LTX-2: without its self-attention alone). In x0 space, where its
    rescaling happens. LTX-2 samples video with s_c = 3 and audio with 7, s_x = 3, s_g = 2 by this count, and rescales by 0.7.
    """

    name = "modality_cfg"
    space = "x0"
    video_scale: float = 2.5
    audio_scale: float = 2.5
    video_cross_scale: float = 2.5
    audio_cross_scale: float = 2.5
    video_skip_scale: float = 1.0
    audio_skip_scale: float = 1.0
    skip_block: int = 3

    def weights(self) -> list[tuple[Branch, Weight]]:
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
