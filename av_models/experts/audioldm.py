"""The T2A expert of Seeing and Hearing (CVPR 2024): diffusers' UNet2DConditionModel as AudioLDM uses it.

From a pipeline's folder: `pipeline = AudioLDMPipeline.from_pretrained(folder, use_safetensors=True)` holds all of it. The
expert is `AudioLDMExpert(pipeline.unet)`; what it is told of a prompt is `audioldm_text.text_condition(pipeline, prompt)`.
"""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..contract import Condition
from ..path import DDPM


class AudioLDMExpert(nn.Module):
    """Predicts ε of [B, C, T, F] under DDPM noise, told the step.

    Its condition: `vector` [B, D], CLAP's embedding of the prompt, joins the time embedding as a class. It takes no tokens.
    """

    path = DDPM()
    prediction = "epsilon"

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """[B, C, T, F], step t [B] → ε of the same shape, in float32 whatever the UNet's own precision."""
        x, clap = latent.to(self.unet.dtype), cond.vector.to(self.unet.dtype)
        return self.unet(x, t, encoder_hidden_states=None, class_labels=clap, return_dict=False)[0].float()
