"""Stable Video Diffusion's VAE (diffusers' AutoencoderKLTemporalDecoder) as a codec: one latent frame per frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..shapes import VideoStride
from .base import Codec


@contextmanager
def upcast_vae(vae: AutoencoderKLTemporalDecoder) -> Iterator[None]:
    """Use the VAE in float32 inside the `with` block if it is float16 and its config has `force_upcast`.

    Its encoder overflows in float16. diffusers' pipeline does the same.
    """
    if not (vae.dtype == torch.float16 and vae.config.force_upcast):
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(torch.float16)


class SVDCodec(Codec):
    """A codec between frames and latents [B, C, F, h, w].

    Latents are the mode of the VAE's distribution, scaled as in Stable Video Diffusion's pipeline.
    chunk_size: number of frames that are decoded together (the pipeline's `decode_chunk_size`). The decoder has layers over
        time: larger chunks flicker less and take more memory. The backward pass recomputes each chunk's activations.
    """

    def __init__(self, vae: AutoencoderKLTemporalDecoder, chunk_size: int = 14) -> None:
        super().__init__()
        self.vae, self.chunk_size = vae, chunk_size
        self.frames_at_once = chunk_size
        cell = 2 ** (len(vae.config.block_out_channels) - 1)
        self.stride = VideoStride(time=1, space=cell, channels=vae.config.latent_channels, causal=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, F, H, W, 3] in 0..1 to latents [B, C, F, h, w]."""
        pixels = frames.movedim(-1, 2) * 2 - 1
        with upcast_vae(self.vae):
            z = [self.vae.encode(chunk.to(self.vae.dtype)).latent_dist.mode() for chunk in self._chunks(pixels)]
        return torch.cat(z).float().unflatten(0, frames.shape[:2]).movedim(2, 1) * self.vae.config.scaling_factor

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, F, h, w] to frames [B, F, H, W, 3] in 0..1."""
        z = 1 / self.vae.config.scaling_factor * latent.movedim(2, 1).to(self.vae.dtype)
        pixels = [checkpoint(self._decode_chunk, chunk, use_reentrant=False) for chunk in self._chunks(z)]
        return (torch.cat(pixels).float().unflatten(0, z.shape[:2]).movedim(2, -1) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents as `decode` does, and yield the frames of `chunk_size` latent frames at a time."""
        for part in latent.split(self.chunk_size, 2):
            yield self.decode(part)

    def _decode_chunk(self, z: Tensor) -> Tensor:
        return self.vae.decode(z, num_frames=len(z)).sample

    def _chunks(self, clips: Tensor) -> list[Tensor]:
        """Split clips [B, F, …] into chunks [frames, …], each of one clip."""
        return [chunk for clip in clips for chunk in clip.split(self.chunk_size)]
