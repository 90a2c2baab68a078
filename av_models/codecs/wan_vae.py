"""Wan's video VAE (diffusers' AutoencoderKLWan) as a codec: 1 + 4n frames, 8 × 8 or 16 × 16 pixels per cell."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from ..arguments import make_network
from ..shapes import VideoStride
from .base import Codec


class WanCodec(Codec):
    """A codec between frames and latents [B, C, T, h, w].

    config: the arguments of AutoencoderKLWan. Latents are the mode of the VAE's distribution, normalized by the mean and
    standard deviation in its config, as in Wan's pipelines.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self._use(make_network(AutoencoderKLWan, config))

    @classmethod
    def of(cls, vae: AutoencoderKLWan) -> WanCodec:
        """Return the codec of a VAE that was loaded."""
        codec = cls.__new__(cls)
        Codec.__init__(codec)
        codec.config = dict(vae.config)
        codec._use(vae)
        return codec

    def _use(self, vae: AutoencoderKLWan) -> None:
        self.vae, full_config = vae, vae.config
        self.stride = VideoStride(full_config.scale_factor_temporal, full_config.scale_factor_spatial, full_config.z_dim)
        shape = (full_config.z_dim, 1, 1, 1)
        self.register_buffer("latent_mean", torch.tensor(full_config.latents_mean).view(shape), persistent=False)
        self.register_buffer("latent_std", torch.tensor(full_config.latents_std).view(shape), persistent=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, 1 + 4n, H, W, 3] in 0..1 to latents [B, C, 1 + n, h, w]."""
        z = self.vae.encode((frames.movedim(-1, 1) * 2 - 1).to(self.vae.dtype)).latent_dist.mode()
        return (z.float() - self.latent_mean) / self.latent_std

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, 1 + n, h, w] to frames [B, 1 + 4n, H, W, 3] in 0..1."""
        z = latent.float() * self.latent_std + self.latent_mean
        frames = self.vae.decode(z.to(self.vae.dtype), return_dict=False)[0].float()
        return (frames.movedim(1, -1) * 0.5 + 0.5).clamp(0, 1)
