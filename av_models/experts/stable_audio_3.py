"""The audio expert of Stable Audio 3 (arXiv 2605.17991): diffusers' StableAudio3DiTModel."""

from __future__ import annotations

from copy import copy

import torch
from diffusers import StableAudio3DiTModel
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from torch import Tensor, nn
from torch.nn.functional import pad

from ..contract import Condition, Prediction
from ..path import FLOW
from ..shapes import AVShape

TEXT_LENGTH = 256  # tokens of a prompt, always: padding has an effect
DISTILLED = "this Stable Audio 3 is distilled, so that guidance is part of its weights"


class StableAudio3Expert(nn.Module):
    """Predicts the velocity of audio latents [B, C, T].

    duration: encodes the length of a clip. seconds: the length; `for_clip` sets it.
    refuses_guidance: why it takes no guidance, "" if it does.

    Its condition has `tokens` [B, up to 256, D], T5Gemma's output. The network replaces padding by an embedding of its own.
    """

    path = FLOW
    prediction: Prediction = "flow"

    def __init__(
        self, transformer: StableAudio3DiTModel, duration: StableAudio3DurationEmbedder, distilled: bool, seconds: float = 10.0
    ) -> None:
        super().__init__()
        self.transformer, self.duration, self.seconds = transformer, duration, seconds
        self.head_size = transformer.config.embed_dim // transformer.config.num_heads
        self.refuses_guidance = DISTILLED if distilled else ""

    def for_clip(self, shape: AVShape) -> StableAudio3Expert:
        """Return this expert for clips of another length. The networks are shared."""
        expert = copy(self)
        expert.seconds = shape.audio.samples / shape.audio.sample_rate
        return expert

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Predict the velocity, in float32 and shaped as `latent` [B, C, T]; t: [B] in 0..1."""
        dtype, added = self.transformer.dtype, TEXT_LENGTH - cond.tokens.shape[1]
        length = self.duration(torch.tensor([self.seconds], device=latent.device)).to(dtype).expand(len(latent), -1)
        tokens = torch.cat([pad(cond.tokens.to(dtype), (0, 0, 0, added)), length[:, None]], dim=1)
        return self.transformer(
            latent.to(dtype), t, encoder_hidden_states=tokens, global_hidden_states=length,
            encoder_attention_mask=pad(pad(cond.mask, (0, added)), (0, 1), value=True), return_dict=False,
        )[0].float()  # fmt: skip
