"""Stable Diffusion's image VAE (diffusers' AutoencoderKL) as a video codec: every frame by itself, 8 × 8 pixels a cell."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..shapes import VideoStride
from .base import Decoding


class ImageCodec(Decoding):
    """Latents are the distribution's mode, scaled as Stable Diffusion's pipelines do it.

    frames_at_once: how many frames go through the VAE together. On the way back what they left there is made again, so that
    a gradient through a long clip takes the memory of that many frames.
    """

    def __init__(self, vae: AutoencoderKL, frames_at_once: int = 4) -> None:
        super().__init__()
        if frames_at_once < 1:
            raise ValueError(f"frames_at_once is {frames_at_once}; give at least 1")
        self.vae, self.frames_at_once = vae, frames_at_once
        space = 2 ** (len(vae.config.block_out_channels) - 1)
        self.stride = VideoStride(time=1, space=space, channels=vae.config.latent_channels, causal=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        images = frames.movedim(-1, 2).flatten(0, 1).to(self.vae.dtype) * 2 - 1
        z = torch.cat([self.vae.encode(some).latent_dist.mode() for some in images.split(self.frames_at_once)]).float()
        return z.unflatten(0, frames.shape[:2]).movedim(2, 1) * self.vae.config.scaling_factor

    def render(self, latent: Tensor) -> Tensor:
        z = 1 / self.vae.config.scaling_factor * latent.movedim(2, 1).to(self.vae.dtype)
        parts = z.flatten(0, 1).split(self.frames_at_once)
        images = torch.cat([checkpoint(self._decoded, part, use_reentrant=False) for part in parts]).float()
        return (images.unflatten(0, z.shape[:2]).movedim(2, -1) / 2 + 0.5).clamp(0, 1)

    def _decoded(self, z: Tensor) -> Tensor:
        return self.vae.decode(z, return_dict=False)[0]
