"""The image-to-video expert of JointDiT: diffusers' UNetSpatioTemporalConditionModel (Stable Video Diffusion)."""

from __future__ import annotations

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor

from ..contract import Condition, Prediction
from ..path import EDM
from .unet import UNetExpert, UNetState

SVD_NOISE = EDM()


class SVDExpert(UNetExpert):
    """Predicts v of video latents [B, C, T, H, W] under EDM noise; its timestep is ¼ log σ.

    path: the noise distribution of its training.

    Its condition has `image` [B, C, 1, H, W], the image's latent, which is concatenated with every frame on the channel axis;
    `tokens` [B, 1, D], the image's embedding; and `vector` [B, 3], the added time ids: fps − 1, motion bucket, and noise
    augmentation strength. For ∅, `image` and `tokens` are zero.

    Raises ValueError if the UNet does not take three time ids.
    """

    prediction: Prediction = "v"
    unet: UNetSpatioTemporalConditionModel

    def __init__(self, unet: UNetSpatioTemporalConditionModel, path: EDM = SVD_NOISE) -> None:
        super().__init__(unet)
        size, needed = unet.config.addition_time_embed_dim, unet.config.projection_class_embeddings_input_dim
        if 3 * size != needed:
            raise ValueError(f"addition_time_embed_dim is {size}; use a third of projection_class_embeddings_input_dim, {needed}")
        self.path = path

    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState:
        """Prepare the state of the first layer; latent: [B, C, T, H, W], t: ¼ log σ [B]."""
        unet = self.unet
        latent, cond = self.cast_inputs(latent, cond)
        assert cond.vector is not None and cond.image is not None, "Stable Video Diffusion needs an image condition"
        rows, _, frames, height, width = latent.shape
        time = unet.time_embedding(unet.time_proj(t).to(latent.dtype))
        ids = unet.add_time_proj(cond.vector.flatten()).reshape(rows, -1).to(time.dtype)
        time = (time + unet.add_embedding(ids)).repeat_interleave(frames, dim=0)
        with_image = torch.cat([latent, cond.image.expand(-1, -1, frames, -1, -1)], 1)
        hidden = unet.conv_in(with_image.transpose(1, 2).flatten(0, 1).contiguous())
        return UNetState(
            hidden, time, (hidden,),
            options={"image_only_indicator": torch.zeros(rows, frames, dtype=hidden.dtype, device=hidden.device)},
            text_options={"encoder_hidden_states": cond.tokens.repeat_interleave(frames, dim=0)},
            frames=frames, shape=latent.shape, forward_upsample_size=self.needs_upsample_size(height, width),
        )  # fmt: skip

    def unpack(self, hidden: Tensor, state: UNetState) -> Tensor:
        """Reshape the UNet's output [B · T, C, H, W] to [B, C, T, H, W]."""
        return hidden.unflatten(0, (-1, state.frames)).transpose(1, 2)
