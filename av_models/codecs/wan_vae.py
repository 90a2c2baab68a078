"""Wan's video VAE (diffusers' AutoencoderKLWan) as a codec: 1 + 4n frames, 8 × 8 or 16 × 16 pixels a cell."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from ..shapes import VideoStride
from .base import Decoding


class WanCodec(Decoding):
    """`config`: AutoencoderKLWan's. Latents are the distribution's mode, normed as Wan's pipelines do it."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.vae = AutoencoderKLWan(**config)
        known = self.vae.config
        self.stride = VideoStride(known.scale_factor_temporal, known.scale_factor_spatial, known.z_dim)
        shape = (known.z_dim, 1, 1, 1)
        self.register_buffer("latent_mean", torch.tensor(known.latents_mean).view(shape), persistent=False)
        self.register_buffer("latent_std", torch.tensor(known.latents_std).view(shape), persistent=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        z = self.vae.encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
        return (z - self.latent_mean) / self.latent_std

    def render(self, latent: Tensor) -> Tensor:
        frames = self.vae.decode(latent * self.latent_std + self.latent_mean, return_dict=False)[0]
        return (frames.movedim(1, -1) * 0.5 + 0.5).clamp(0, 1)
