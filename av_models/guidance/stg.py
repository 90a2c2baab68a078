"""Spatiotemporal skip guidance (STG; Hyung et al., arXiv 2411.18664): guidance by a prediction that skips a block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .base import NEGATIVE, OWN_BLOCK, POSITIVE, AffineGuidance, Branch, Weight


@dataclass(frozen=True, kw_only=True)
class STG(AffineGuidance):
    """Compute P(∅,1) + s [P(c,1) − P(∅,1)] + (s_g−1) [P(c,1) − P_skip].

    `*_scale` is s and `*_skip_scale` is s_g. P_skip skips block `skip_block`: its residual branch is dropped (STG-R in the
    paper; LTX-2 skips its self-attention only). By default CFG is off, s_g − 1 = 1, and the model chooses the block.
    """

    name = "stg"
    video_scale: float = 1.0
    audio_scale: float = 1.0
    video_skip_scale: float = 2.0
    audio_skip_scale: float = 2.0
    skip_block: int = OWN_BLOCK

    def weights(self) -> list[tuple[Branch, Weight]]:
        """Return the branches of P(∅,1), P(c,1) and P_skip."""
        prompt = Weight(1 - self.video_scale, 1 - self.audio_scale)
        skip = Weight(1 - self.video_skip_scale, 1 - self.audio_skip_scale)
        rest = prompt + skip
        return [
            (NEGATIVE, prompt),
            (POSITIVE, Weight(1 - rest.video, 1 - rest.audio)),
            (replace(POSITIVE, skip_block=self.skip_block), skip),
        ]
