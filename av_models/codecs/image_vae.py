"""Stable Diffusion's image VAE (diffusers' AutoencoderKL) as a video codec: each frame separately, 8 × 8 pixels per cell."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..shapes import VideoStride
from .base import Codec


class ImageCodec(Codec):
    """A video codec that applies an image VAE to each frame.

    Latents are the mode of the VAE's distribution, scaled as in Stable Diffusion's pipelines.
    chunk_size: number of frames that the VAE processes at a time. The backward pass recomputes the activations of one chunk
        at a time, so that the gradient of a long clip needs the memory of one chunk.

    Raises ValueError if chunk_size is below 1.
    """

    def __init__(self, vae: AutoencoderKL, chunk_size: int = 4) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}; use at least 1")
        self.vae, self.chunk_size = vae, chunk_size
        self.frames_at_once = chunk_size
        space = 2 ** (len(vae.config.block_out_channels) - 1)
        self.stride = VideoStride(time=1, space=space, channels=vae.config.latent_channels, causal=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, F, H, W, 3] in 0..1 to latents [B, C, F, H/8, W/8]."""
        images = frames.movedim(-1, 2).flatten(0, 1).to(self.vae.dtype) * 2 - 1
        z = torch.cat([self.vae.encode(chunk).latent_dist.mode() for chunk in images.split(self.chunk_size)]).float()
        return z.unflatten(0, frames.shape[:2]).movedim(2, 1) * self.vae.config.scaling_factor

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, F, h, w] to frames [B, F, 8h, 8w, 3] in 0..1."""
        z = 1 / self.vae.config.scaling_factor * latent.movedim(2, 1).to(self.vae.dtype)
        chunks = z.flatten(0, 1).split(self.chunk_size)
        images = torch.cat([checkpoint(self._decode_chunk, chunk, use_reentrant=False) for chunk in chunks]).float()
        return (images.unflatten(0, z.shape[:2]).movedim(2, -1) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents as `decode` does, and yield the frames of `chunk_size` latent frames at a time."""
        for part in latent.split(self.chunk_size, 2):
            yield self.decode(part)

    def _decode_chunk(self, z: Tensor) -> Tensor:
        return self.vae.decode(z, return_dict=False)[0]
