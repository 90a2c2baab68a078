"""Spatiotemporal skip guidance (Hyung et al., arXiv 2411.18664): away from a prediction that skips a block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .base import NEGATIVE, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class STG(AffineGuidance):
    """P(∅,1) + s [P(c,1) − P(∅,1)] + (s_g−1) [P(c,1) − P_skip].

    `*_scale` is s, `*_skip_scale` s_g. P_skip leaves block `skip_block` out by its residual (STG-R of the paper). Default
    scales: CFG off and s_g − 1 = 1. LTX-2 skips block 28 or 29.
    """

    name = "stg"
    video_scale: float = 1.0
    audio_scale: float = 1.0
    video_skip_scale: float = 2.0
    audio_skip_scale: float = 2.0
    skip_block: int = 3

    def weights(self) -> list[tuple[Branch, Weight]]:
        prompt = Weight(1 - self.video_scale, 1 - self.audio_scale)
        skip = Weight(1 - self.video_skip_scale, 1 - self.audio_skip_scale)
        rest = prompt + skip
        return [
            (NEGATIVE, prompt),
            (POSITIVE, Weight(1 - rest.video, 1 - rest.audio)),
            (replace(POSITIVE, skip_block=self.skip_block), skip),
        ]
