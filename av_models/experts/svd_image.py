"""What Stable Video Diffusion is told of a picture, by the methods of diffusers' own pipeline."""

from __future__ import annotations

import torch
from diffusers import StableVideoDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..codecs.svd_vae import upcast
from ..contract import Condition


@torch.no_grad()
def picture_condition(
    pipeline: StableVideoDiffusionPipeline,
    image: Tensor,
    *,
    height: int,
    width: int,
    fps: float,
    motion_bucket: int = 127,
    noise_augmentation: float = 0.02,
    generator: torch.Generator | None = None,
) -> Condition:
    """The condition of one picture [H, W, 3] in 0..1, for a clip of `height` × `width` pixels at `fps`.

    `noise_augmentation`: how much noise is laid over the picture before it is encoded; more lets the clip stray further.
    """
    picture = pipeline.video_processor.numpy_to_pil(image.cpu().numpy())
    device = pipeline.unet.device
    tokens = pipeline._encode_image(picture, device, 1, False)
    pixels = pipeline.video_processor.preprocess(picture, height=height, width=width).to(device)
    pixels = pixels + noise_augmentation * randn_tensor(pixels.shape, generator=generator, device=device, dtype=pixels.dtype)
    with upcast(pipeline.vae):
        latent = pipeline._encode_vae_image(pixels, device, 1, False).to(tokens.dtype)
    return _condition(pipeline, tokens, latent[:, :, None], fps, motion_bucket, noise_augmentation)


def null_condition(
    pipeline: StableVideoDiffusionPipeline,
    *,
    height: int,
    width: int,
    fps: float,
    motion_bucket: int = 127,
    noise_augmentation: float = 0.02,
) -> Condition:
    """∅ of such a clip, where there is no picture to encode: what `no_picture` makes of any."""
    unet, cell = pipeline.unet, pipeline.vae_scale_factor
    image = torch.zeros(1, unet.config.out_channels, 1, height // cell, width // cell, device=unet.device, dtype=unet.dtype)
    tokens = image.new_zeros(1, 1, unet.config.cross_attention_dim)
    return _condition(pipeline, tokens, image, fps, motion_bucket, noise_augmentation)


def no_picture(cond: Condition) -> Condition:
    """∅: neither embedding nor latent, but the same frame rate and motion."""
    return Condition(torch.zeros_like(cond.tokens), cond.mask, vector=cond.vector, image=torch.zeros_like(cond.image))


def _condition(pipeline, tokens: Tensor, image: Tensor, fps: float, motion_bucket: int, noise_augmentation: float) -> Condition:
    # Stable Video Diffusion was trained on fps − 1
    ids = pipeline._get_add_time_ids(fps - 1, motion_bucket, noise_augmentation, tokens.dtype, 1, 1, False).to(tokens.device)
    return Condition(tokens, torch.ones(1, 1, dtype=torch.bool, device=tokens.device), vector=ids, image=image)
