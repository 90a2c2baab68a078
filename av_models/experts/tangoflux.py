"""TangoFlux (arXiv 2412.21037): a Flux transformer for audio, with a token for the clip's length after the text."""

from __future__ import annotations

from copy import copy

import torch
from diffusers import FluxTransformer2DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import Tensor, nn

from ..contract import Condition
from ..shapes import AVShape
from .base import ExpertState
from .flux import FluxExpert, pooled


class TangoFluxExpert(FluxExpert):
    """Predicts the flow velocity of Oobleck latents [B, 64, T] at t in 0..1, as TangoFlux does.

    Audio position p is at (p, p, p) of the rotary embedding. The blocks attend to all text tokens, those of padding too, and to
    one more with the clip's length. They are modulated by ReLU(fc(mean of the real text tokens)).

    max_seconds: the longest clip. Without `for_clip`, clips are as long.
    """

    def __init__(
        self, transformer: FluxTransformer2DModel, fc: nn.Linear, duration: StableAudioNumberConditioner, max_seconds: float = 30.0
    ) -> None:
        super().__init__(transformer)
        self.fc, self.duration, self.seconds, self.max_seconds = fc, duration, max_seconds, max_seconds

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the transformer computes in. Latents and predictions have that of the caller, or float32."""
        return self.transformer.dtype

    def for_clip(self, shape: AVShape) -> TangoFluxExpert:
        """Return this expert, with the same weights, for clips of `shape`. Raises ValueError if they are too long."""
        seconds = shape.video.seconds
        if not seconds <= self.max_seconds:
            raise ValueError(f"the clip is {seconds:.4g} s long; TangoFlux makes at most {self.max_seconds:g} s")
        other = copy(self)
        other.seconds = seconds
        return other

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """Return the position ids [T, 3] of the audio tokens: (p, p, p)."""
        return torch.arange(steps, device=device)[:, None].expand(-1, 3)

    def prompt(self, text: Condition) -> tuple[Tensor, Tensor]:
        """Return the text with the token of the clip's length, [B, L + 1, D], and the pooled text, [B, D]."""
        tokens = text.tokens.to(self.fc.weight.dtype)
        real = torch.where(text.mask[..., None], tokens, torch.zeros_like(tokens))
        pooled_text = self.fc(pooled(Condition(real, text.mask))).relu()
        length = self.duration(torch.tensor([self.seconds], device=tokens.device, dtype=torch.float32))
        with_length = torch.cat([tokens, length.to(tokens.dtype).expand(len(tokens), -1, -1)], 1)
        return with_length.to(self.dtype), pooled_text.to(self.dtype)

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """Run the whole transformer: latent [B, C, T], t [B] in 0..1. Returns the velocity, shaped as the latent, in float32."""
        return super().forward(latent.to(self.dtype), t, text).float()

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        """Prepare the state of the first block."""
        return super().embed(latent.to(self.dtype), t, text)

    def head(self, state: ExpertState) -> Tensor:
        """Compute the velocity [B, C, T] in float32 from the state after the last block."""
        return super().head(state).float()
