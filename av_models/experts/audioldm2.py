"""The audio expert of JointDiT: diffusers' AudioLDM2UNet2DConditionModel."""

from __future__ import annotations

from diffusers import AudioLDM2UNet2DConditionModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import DDPM
from .unet import UNetExpert, UNetState


class AudioLDM2Expert(UNetExpert):
    """Predicts ε, or v where it was trained to, of [B, C, T, F] (or [B, C, T], taken as one band) under DDPM noise, told the step.

    Its condition: `tokens` (GPT-2's) and `second` (T5's) as AudioLDM2's pipeline gives them; `vector` [B, image_width],
    a picture's embedding, joins the time embedding (JointDiT, section 3.2) where `image_width` is above 0. It is
    projected without bias from zero weights, so that an untrained one changes nothing, and ∅, all zeros, never does.
    """

    path = DDPM()
    unet: AudioLDM2UNet2DConditionModel

    def __init__(self, unet: AudioLDM2UNet2DConditionModel, image_width: int = 0, prediction: Prediction = "epsilon") -> None:
        super().__init__(unet)
        self.prediction = prediction
        self.image = nn.Linear(image_width, self.time_width, bias=False) if image_width else None
        if self.image:
            nn.init.zeros_(self.image.weight)

    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState:
        unet = self.unet
        latent, cond = self.in_own_precision(latent, cond)
        x = latent if latent.ndim == 4 else latent[..., None]
        time = unet.time_embedding(unet.time_proj(t).to(x.dtype))
        if self.image is not None and cond.vector is not None:
            time = time + self.image(cond.vector.to(self.image.weight.dtype)).to(time.dtype)
        text = {"encoder_hidden_states": cond.tokens}
        if cond.second is not None:
            bias = (1 - cond.second.mask.to(x.dtype)) * -10000.0
            text |= {"encoder_hidden_states_1": cond.second.tokens, "encoder_attention_mask_1": bias[:, None]}
        hidden = unet.conv_in(x.contiguous())
        return UNetState(
            hidden, time, (hidden,), options={}, text_options=text,
            frames=1, shape=latent.shape, uneven=self.is_uneven(*x.shape[-2:]),
        )  # fmt: skip

    def unpacked(self, hidden: Tensor, stream: UNetState) -> Tensor:
        return hidden.reshape(stream.shape)
