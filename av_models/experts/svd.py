"""The I2V expert of JointDiT: diffusers' UNetSpatioTemporalConditionModel (Stable Video Diffusion)."""

from __future__ import annotations

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor

from ..contract import Condition
from ..path import EDM
from .unet import UNetExpert, UNetState

SVD_NOISE = EDM()


class SVDExpert(UNetExpert):
    """Predicts v of [B, C, T, H, W] under EDM noise, told ¼ log σ.

    Its condition: `image` [B, C, 1, H, W], the picture's latent, joins every frame on channels; `tokens` [B, 1, D] is
    the picture's embedding; `vector` [B, 3] holds fps − 1, motion bucket and noise augmentation. Both are zero for ∅.
    `path`: the noise it was trained with.
    """

    prediction = "v"
    unet: UNetSpatioTemporalConditionModel

    def __init__(self, unet: UNetSpatioTemporalConditionModel, path: EDM = SVD_NOISE) -> None:
        super().__init__(unet)
        self.path = path

    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState:
        unet = self.unet
        latent, cond = self.in_own_precision(latent, cond)
        rows, _, frames, height, width = latent.shape
        time = unet.time_embedding(unet.time_proj(t).to(latent.dtype))
        ids = unet.add_time_proj(cond.vector.flatten()).reshape(rows, -1).to(time.dtype)
        time = (time + unet.add_embedding(ids)).repeat_interleave(frames, dim=0)
        seen = torch.cat([latent, cond.image.expand(-1, -1, frames, -1, -1)], 1)
        hidden = unet.conv_in(seen.transpose(1, 2).flatten(0, 1).contiguous())
        return UNetState(
            hidden, time, (hidden,),
            options={"image_only_indicator": torch.zeros(rows, frames, dtype=hidden.dtype, device=hidden.device)},
            text_options={"encoder_hidden_states": cond.tokens.repeat_interleave(frames, dim=0)},
            frames=frames, shape=latent.shape, uneven=self.is_uneven(height, width),
        )  # fmt: skip

    def unpacked(self, hidden: Tensor, stream: UNetState) -> Tensor:
        return hidden.unflatten(0, (-1, stream.frames)).transpose(1, 2)
