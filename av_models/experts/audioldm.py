"""The text-to-audio expert of Seeing and Hearing (CVPR 2024): diffusers' UNet2DConditionModel as AudioLDM uses it.

How to make one from the folder of a pipeline:

    pipeline = AudioLDMPipeline.from_pretrained(folder, use_safetensors=True)
    expert = AudioLDMExpert(pipeline.unet)
    condition = audioldm_text.encode_prompt(pipeline, prompt)
"""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import DDPM


class AudioLDMExpert(nn.Module):
    """Predicts ε of audio latents [B, C, T, F] under DDPM noise.

    Its condition has `vector` [B, D], CLAP's embedding of the prompt, which is added to the time embedding as class labels.
    The UNet has no text cross-attention: `tokens` are not used.
    """

    path = DDPM()
    prediction: Prediction = "epsilon"

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Predict ε, in float32 and shaped as `latent` [B, C, T, F]; t: DDPM timesteps [B]."""
        assert cond.vector is not None, "AudioLDM needs the prompt's embedding"
        x, clap = latent.to(self.unet.dtype), cond.vector.to(self.unet.dtype)
        return self.unet(x, t, encoder_hidden_states=None, class_labels=clap, return_dict=False)[0].float()
