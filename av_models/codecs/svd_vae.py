"""Stable Video Diffusion's VAE (diffusers' AutoencoderKLTemporalDecoder) as a codec: a latent frame for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..shapes import VideoStride
from .base import Decoding


@contextmanager
def upcast(vae: AutoencoderKLTemporalDecoder) -> Iterator[None]:
    """Encodes in float32 where float16 overflows, as the pipeline does: the VAE's config says so."""
    if not (vae.dtype == torch.float16 and vae.config.force_upcast):
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(torch.float16)


class SVDCodec(Decoding):
    """Latents are the distribution's mode, scaled as Stable Video Diffusion's pipeline does.

    chunk: frames decoded at once, each seeing the others of its chunk: more flickers less and takes more memory (the
    pipeline's `decode_chunk_size`). On the way back a chunk's activations are made again.
    """

    def __init__(self, vae: AutoencoderKLTemporalDecoder, chunk: int = 14) -> None:
        super().__init__()
        self.vae, self.chunk = vae, chunk
        cell = 2 ** (len(vae.config.block_out_channels) - 1)
        self.stride = VideoStride(time=1, space=cell, channels=vae.config.latent_channels, causal=False)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        pixels = frames.movedim(-1, 2) * 2 - 1
        with upcast(self.vae):
            z = [self.vae.encode(part.to(self.vae.dtype)).latent_dist.mode() for part in self._chunks(pixels)]
        return torch.cat(z).float().unflatten(0, frames.shape[:2]).movedim(2, 1) * self.vae.config.scaling_factor

    def render(self, latent: Tensor) -> Tensor:
        z = 1 / self.vae.config.scaling_factor * latent.movedim(2, 1).to(self.vae.dtype)
        pixels = [checkpoint(self._decoded, part, use_reentrant=False) for part in self._chunks(z)]
        return (torch.cat(pixels).float().unflatten(0, z.shape[:2]).movedim(2, -1) / 2 + 0.5).clamp(0, 1)

    def _decoded(self, z: Tensor) -> Tensor:
        return self.vae.decode(z, num_frames=len(z)).sample

    def _chunks(self, clips: Tensor) -> list[Tensor]:
        """[B, F, …] as [frames, …] of one clip each."""
        return [part for clip in clips for part in clip.split(self.chunk)]
