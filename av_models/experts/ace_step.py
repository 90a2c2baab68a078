"""The audio expert of ACE-Step 1.5 (music): diffusers' AceStepTransformer1DModel."""

from __future__ import annotations

import math

import torch
from diffusers import AceStepTransformer1DModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import FLOW

DISTILLED = "this ACE-Step is distilled (turbo), so that guidance is part of its weights"


class AceStepExpert(nn.Module):
    """Predicts the velocity of audio latents [B, C, T].

    silence: the latent of silence [1, T, C], the context that the network fills with music.
    refuses_guidance: why it takes no guidance, "" if it does.

    Its condition has `tokens` [B, L, D], the output of the pipeline's condition encoder; ∅ is one token, which stands for as many
    as the prompt has. The network attends to all of them alike: rows with texts of different lengths run one by one.
    """

    path = FLOW
    prediction: Prediction = "flow"
    why_not_woven = "ACE-Step 1.5 is used without joint layers: it takes a context beside its latents"
    silence: Tensor

    def __init__(self, transformer: AceStepTransformer1DModel, silence: Tensor, distilled: bool) -> None:
        super().__init__()
        self.transformer = transformer
        self.register_buffer("silence", silence, persistent=False)
        self.refuses_guidance = DISTILLED if distilled else ""

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Predict the velocity, in float32 and shaped as `latent` [B, C, T]; t: [B] in 0..1."""
        lengths = cond.mask.sum(1).tolist()
        longest = max(lengths)
        tokens = cond.tokens[:, :longest]
        if len(set(lengths) - {1}) <= 1:
            return self._predict(latent, t, torch.where(cond.mask[:, :longest, None], tokens, tokens[:, :1]))
        rows = (self._predict(latent[i : i + 1], t[i : i + 1], tokens[i : i + 1, :length]) for i, length in enumerate(lengths))
        return torch.cat(list(rows))

    def _predict(self, latent: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        dtype = self.transformer.dtype
        x, t = latent.transpose(1, 2).to(dtype), t.to(dtype)
        context = torch.cat([self._silence(x), torch.ones_like(x)], dim=-1)
        return self.transformer(
            x, timestep=t, timestep_r=t, encoder_hidden_states=tokens.to(dtype), context_latents=context, return_dict=False
        )[0].transpose(1, 2).float()  # fmt: skip

    def _silence(self, x: Tensor) -> Tensor:
        """Return the latent of silence for every step of x [B, T, C], from its beginning again where it is shorter."""
        rows, steps, _ = x.shape
        repeated = self.silence.repeat(1, math.ceil(steps / self.silence.shape[1]), 1)
        return repeated[:, :steps].to(x.dtype).expand(rows, -1, -1)
