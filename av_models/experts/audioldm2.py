"""The audio expert of JointDiT: diffusers' AudioLDM2UNet2DConditionModel."""

from __future__ import annotations

from diffusers import AudioLDM2UNet2DConditionModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import DDPM
from .unet import UNetExpert, UNetState


class AudioLDM2Expert(UNetExpert):
    """Predicts ε of audio latents [B, C, T, F] under DDPM noise. Latents [B, C, T] are taken as one frequency band.

    prediction: "epsilon", or "v" for a UNet that was trained to predict v.
    image_width: size of an image embedding that is added to the time embedding (JointDiT, section 3.2); 0 for none. Its
        projection has no bias and zero initial weights: an untrained projection and a zero embedding (∅) have no effect.

    Its condition has `tokens` (GPT-2's) and `second` (T5's), as in AudioLDM2's pipeline, and `vector` [B, image_width], the
    image embedding.
    """

    path = DDPM()
    unet: AudioLDM2UNet2DConditionModel
    image: nn.Linear | None

    def __init__(self, unet: AudioLDM2UNet2DConditionModel, image_width: int = 0, prediction: Prediction = "epsilon") -> None:
        super().__init__(unet)
        self.prediction = prediction
        self.image = nn.Linear(image_width, self.time_width, bias=False) if image_width else None
        if self.image:
            nn.init.zeros_(self.image.weight)

    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState:
        """Prepare the state of the first layer; latent: [B, C, T, F] or [B, C, T], t: DDPM timesteps [B]."""
        unet = self.unet
        latent, cond = self.cast_inputs(latent, cond)
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
            hidden, time, (hidden,), options={}, text_options=text, frames=1, shape=latent.shape,
            forward_upsample_size=self.needs_upsample_size(*x.shape[-2:]),
        )  # fmt: skip

    def unpack(self, hidden: Tensor, state: UNetState) -> Tensor:
        """Reshape the UNet's output to the shape of the latent."""
        return hidden.reshape(state.shape)
