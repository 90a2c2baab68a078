"""Wan's video VAE (diffusers' AutoencoderKLWan) as a codec: 1 + 4n frames, 8 × 8 or 16 × 16 pixels per cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from torch import Tensor

from ..arguments import make_network
from ..shapes import VideoStride
from .base import Codec


class WanCodec(Codec):
    """A codec between frames and latents [B, C, T, h, w].

    config: the arguments of AutoencoderKLWan. Latents are the mode of the VAE's distribution, normalized by the mean and
    standard deviation in its config, as in Wan's pipelines.
    """

    encodes_images = True

    frames_at_once = 8  # 4, and what is kept of earlier ones
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
        return _to_frames(self.vae.decode(self._denormalized(latent), return_dict=False)[0])

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents as `decode` does, and yield the frames [B, f, H, W, 3] in 0..1 of one latent frame after another.

        After `vae.enable_tiling()` all frames come at once: its tiles are decoded one after another, each for the whole clip.
        """
        vae = self.vae
        if vae.use_tiling:
            yield self.decode(latent)
            return
        vae.clear_cache()
        try:
            z = vae.post_quant_conv(self._denormalized(latent))
            for number in range(z.shape[2]):  # as AutoencoderKLWan._decode
                vae._conv_idx = [0]
                chunk = vae.decoder(z[:, :, number : number + 1], vae._feat_map, vae._conv_idx, first_chunk=number == 0)
                patch = vae.config.patch_size
                yield _to_frames((chunk if patch is None else unpatchify(chunk, patch)).clamp(-1, 1))
        finally:
            vae.clear_cache()

    def _denormalized(self, latent: Tensor) -> Tensor:
        return (latent.float() * self.latent_std + self.latent_mean).to(self.vae.dtype)


def _to_frames(pixels: Tensor) -> Tensor:
    return (pixels.float().movedim(1, -1) * 0.5 + 0.5).clamp(0, 1)
