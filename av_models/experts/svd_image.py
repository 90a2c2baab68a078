"""Encodes images for Stable Video Diffusion with the methods of diffusers' pipeline."""

from __future__ import annotations

import torch
from diffusers import StableVideoDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..codecs.svd_vae import upcast_vae
from ..contract import Condition


@torch.no_grad()
def encode_image(
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
    """Encode an image [H, W, 3] in 0..1 to the condition of a clip of `height` × `width` pixels at `fps` frames per second.

    motion_bucket: the pipeline's `motion_bucket_id`; higher values mean more motion.
    noise_augmentation: the pipeline's `noise_aug_strength`: how much noise is added to the image before it is encoded. With
        more noise the clip differs more from the image.
    generator: of that noise.
    """
    images = pipeline.video_processor.numpy_to_pil(image.cpu().numpy())
    device = pipeline.unet.device
    tokens = pipeline._encode_image(images, device, 1, False)
    pixels = pipeline.video_processor.preprocess(images, height=height, width=width).to(device)
    pixels = pixels + noise_augmentation * randn_tensor(pixels.shape, generator=generator, device=device, dtype=pixels.dtype)
    with upcast_vae(pipeline.vae):
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
    """Return the null condition ∅ of such a clip without encoding an image. It equals `drop_image` of any image's condition."""
    unet, cell = pipeline.unet, pipeline.vae_scale_factor
    image = torch.zeros(1, unet.config.out_channels, 1, height // cell, width // cell, device=unet.device, dtype=unet.dtype)
    tokens = image.new_zeros(1, 1, unet.config.cross_attention_dim)
    return _condition(pipeline, tokens, image, fps, motion_bucket, noise_augmentation)


def drop_image(cond: Condition) -> Condition:
    """Return the null condition ∅: zero embedding and latent, with the same frame rate and motion bucket."""
    assert cond.image is not None, "the condition has no image"
    return Condition(torch.zeros_like(cond.tokens), cond.mask, vector=cond.vector, image=torch.zeros_like(cond.image))


def _condition(
    pipeline: StableVideoDiffusionPipeline, tokens: Tensor, image: Tensor, fps: float, motion_bucket: int, noise_augmentation: float
) -> Condition:
    # Stable Video Diffusion was trained on fps − 1
    ids = pipeline._get_add_time_ids(fps - 1, motion_bucket, noise_augmentation, tokens.dtype, 1, 1, False).to(tokens.device)
    return Condition(tokens, torch.ones(1, 1, dtype=torch.bool, device=tokens.device), vector=ids, image=image)
