"""The audio expert of Stable Audio Open 1.0 (arXiv 2407.14358): diffusers' StableAudioDiTModel."""

from __future__ import annotations

from copy import copy

import torch
from diffusers import StableAudioDiTModel
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from torch import Tensor, nn
from torch.nn.functional import pad

from ..contract import Condition, Prediction
from ..path import Trigonometric
from ..shapes import AVShape

TEXT_LENGTH = 128  # tokens of a prompt, always: padding has an effect


class StableAudioExpert(nn.Module):
    """Predicts v of audio latents [B, C, T].

    projection: projects text embeddings, and encodes the second at which a clip starts, which is 0, and its length.
    seconds: the length; `for_clip` sets it.

    Its condition has `tokens` [B, up to 128, D], T5's output. In a row without a real token (∅), the tokens of the seconds are
    zeros too, as in the pipeline without a negative prompt.
    """

    path = Trigonometric()
    prediction: Prediction = "v"

    def __init__(self, transformer: StableAudioDiTModel, projection: StableAudioProjectionModel, seconds: float) -> None:
        super().__init__()
        self.transformer, self.projection, self.seconds = transformer, projection, seconds
        self.head_size = transformer.config.attention_head_dim

    def for_clip(self, shape: AVShape) -> StableAudioExpert:
        """Return this expert for clips of another length. The networks are shared."""
        expert = copy(self)
        expert.seconds = shape.audio.samples / shape.audio.sample_rate
        return expert

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Predict v, in float32 and shaped as `latent` [B, C, T]; t: [B] in 0..1."""
        transformer, dtype = self.transformer, self.transformer.dtype
        start, end = (number.to(dtype).expand(len(latent), -1, -1) for number in self._encode_seconds(latent.device))
        text = pad(self._encode_text(cond).to(dtype), (0, 0, 0, TEXT_LENGTH - cond.tokens.shape[1]))
        given = cond.mask.any(1).to(dtype)[:, None, None]
        rotary = get_1d_rotary_pos_embed(
            transformer.config.attention_head_dim // 2, latent.shape[2] + 1, use_real=True, repeat_interleave_real=False
        )
        return transformer(
            latent.to(dtype), t, encoder_hidden_states=torch.cat([text, start * given, end * given], dim=1),
            global_hidden_states=torch.cat([start, end], dim=2), rotary_embedding=rotary, return_dict=False,
        )[0].float()  # fmt: skip

    def _encode_text(self, cond: Condition) -> Tensor:
        projected = self.projection(text_hidden_states=cond.tokens.to(self.projection.dtype)).text_hidden_states
        return projected * cond.mask.to(projected.dtype)[..., None]

    def _encode_seconds(self, device: torch.device) -> tuple[Tensor, Tensor]:
        seconds = torch.tensor([0.0, self.seconds], device=device)
        encoded = self.projection(start_seconds=seconds[:1], end_seconds=seconds[1:])
        return encoded.seconds_start_hidden_states, encoded.seconds_end_hidden_states
