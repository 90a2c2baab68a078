"""The T2V expert of Seeing and Hearing (CVPR 2024): diffusers' UNetMotionModel, Stable Diffusion with AnimateDiff's motion.

From folders of Stable Diffusion and of a motion adapter: `pipeline = AnimateDiffPipeline.from_pretrained(folder,
motion_adapter=MotionAdapter.from_pretrained(adapter), use_safetensors=True)` joins them; a folder saved by that pipeline
needs no adapter. The expert is `AnimateDiffExpert(pipeline.unet)`; what it is told of a prompt is
`animatediff_text.text_condition(pipeline, prompt)`; its codec is `image_vae.ImageCodec(pipeline.vae)`.
Stable Diffusion's own scheduler config has other betas: a scheduler for AnimateDiff has beta_schedule "linear".
"""

from __future__ import annotations

from diffusers import UNetMotionModel
from torch import Tensor, nn

from ..contract import Condition
from ..path import DDPM


class AnimateDiffExpert(nn.Module):
    """Predicts ε of [B, C, T, H, W] under DDPM noise, told the step. Its condition: `tokens` [B, L, D], CLIP's of the prompt."""

    path = DDPM(0.00085, 0.012, beta_schedule="linear")
    prediction = "epsilon"

    def __init__(self, unet: UNetMotionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """[B, C, T, H, W], step t [B] → ε of the same shape, in float32 whatever the UNet's own precision.

        Raises ValueError for more frames than the motion modules know.
        """
        frames, most = latent.shape[2], self.unet.config.motion_max_seq_length
        if frames > most:
            raise ValueError(f"the clip has {frames} frames and the motion modules know {most}; give fewer")
        x, tokens = latent.to(self.unet.dtype), cond.tokens.to(self.unet.dtype)
        return self.unet(x, t, tokens.repeat_interleave(frames, dim=0), return_dict=False)[0].float()
