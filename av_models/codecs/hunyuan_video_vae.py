"""HunyuanVideo's VAE (diffusers' AutoencoderKLHunyuanVideo), which Kandinsky 6 uses, as a codec: 1 + 4n frames, 8 × 8 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..shapes import VideoStride
from .base import Codec


class HunyuanVideoCodec(Codec):
    """A codec between frames and latents [B, C, T, h, w].

    Latents are the mode of the VAE's distribution, scaled by its scaling factor, as in the pipelines that use it. They are decoded
    in overlapping chunks of frames, and of pixels after `vae.enable_tiling()`, as the VAE itself does. The backward pass recomputes
    one chunk at a time.
    """

    encodes_images = True

    def __init__(self, vae: AutoencoderKLHunyuanVideo) -> None:
        super().__init__()
        self.vae = vae
        config = vae.config
        self.frames_at_once = vae.tile_sample_min_num_frames + 1
        self.stride = VideoStride(config.temporal_compression_ratio, config.spatial_compression_ratio, config.latent_channels)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, 1 + 4n, H, W, 3] in 0..1 to latents [B, C, 1 + n, h, w]."""
        pixels = frames.movedim(-1, 1).to(self.vae.dtype) * 2 - 1
        return self.vae.encode(pixels).latent_dist.mode().float() * self.vae.config.scaling_factor

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, 1 + n, h, w] to frames [B, 1 + 4n, H, W, 3] in 0..1."""
        decode = partial(checkpoint, self._decode_chunk, use_reentrant=False)
        return torch.cat(list(self._chunks(latent, decode)), 1)

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents as `decode` does, and yield the frames [B, f, H, W, 3] in 0..1 chunk by chunk."""
        yield from self._chunks(latent, self._decode_chunk)

    def _chunks(self, latent: Tensor, decode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Yield chunks of frames as AutoencoderKLHunyuanVideo._temporal_tiled_decode does: each fades over from the one before."""
        vae, time = self.vae, self.stride.time
        z = latent.to(vae.dtype) / vae.config.scaling_factor
        length, step = vae.tile_sample_min_num_frames // time, vae.tile_sample_stride_num_frames // time
        if z.shape[2] <= length:
            yield _to_frames(decode(z))
            return
        total, made, before = self.stride.frames(z.shape[2]), 0, None
        for start in range(0, z.shape[2], step):
            chunk = decode(z[:, :, start : start + length + 1])
            if before is not None:
                chunk = vae.blend_t(before, chunk[:, :, 1:].clone(), vae.tile_sample_min_num_frames - step * time)
            last = min(step * time + (before is None), total - made)
            before, made = chunk, made + last
            if last > 0:
                yield _to_frames(chunk[:, :, :last])

    def _decode_chunk(self, z: Tensor) -> Tensor:
        vae, space = self.vae, self.stride.space
        height, width = vae.tile_sample_min_height // space, vae.tile_sample_min_width // space
        if vae.use_tiling and (z.shape[-2] > height or z.shape[-1] > width):
            return vae.tiled_decode(z).sample
        return vae.decoder(vae.post_quant_conv(z))


def _to_frames(pixels: Tensor) -> Tensor:
    return (pixels.float().movedim(1, -1) / 2 + 0.5).clamp(0, 1)
