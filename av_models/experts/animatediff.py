"""The text-to-video expert of Seeing and Hearing (CVPR 2024): AnimateDiff's UNetMotionModel of diffusers.

How to make one from a Stable Diffusion folder and a motion adapter:

    adapter = MotionAdapter.from_pretrained(adapter_folder)
    pipeline = AnimateDiffPipeline.from_pretrained(folder, motion_adapter=adapter, use_safetensors=True)
    expert, codec = AnimateDiffExpert(pipeline.unet), ImageCodec(pipeline.vae)
    condition = animatediff_text.encode_prompt(pipeline, prompt)

A folder that this pipeline saved already contains the motion adapter. Stable Diffusion's scheduler config has a different
noise schedule: a scheduler for AnimateDiff needs beta_schedule="linear".
"""

from __future__ import annotations

from diffusers import UNetMotionModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..limits import LatentLimits
from ..path import DDPM


class AnimateDiffExpert(nn.Module):
    """Predicts ε of video latents [B, C, T, H, W] under DDPM noise.

    Its condition has `tokens` [B, L, D], CLIP's embeddings of the prompt.
    """

    path = DDPM(0.00085, 0.012, beta_schedule="linear")
    prediction: Prediction = "epsilon"

    def __init__(self, unet: UNetMotionModel) -> None:
        super().__init__()
        self.unet = unet

    @property
    def limits(self) -> LatentLimits:
        """As many frames as the motion modules have positions."""
        return LatentLimits(frames=self.unet.config.motion_max_seq_length)

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Predict ε, in float32 and shaped as `latent` [B, C, T, H, W]; t: DDPM timesteps [B].

        Raises ValueError if the clip has more frames than the motion modules have positions.
        """
        frames, most = latent.shape[2], self.unet.config.motion_max_seq_length
        if frames > most:
            raise ValueError(f"the clip has {frames} frames; use at most {most}, the limit of the motion modules")
        x, tokens = latent.to(self.unet.dtype), cond.tokens.to(self.unet.dtype)
        return self.unet(x, t, tokens.repeat_interleave(frames, dim=0), return_dict=False)[0].float()
