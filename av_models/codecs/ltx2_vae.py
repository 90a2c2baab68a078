"""LTX-2's video VAE (diffusers' AutoencoderKLLTX2Video) as a codec: 1 + 8n frames, 32 × 32 pixels per cell."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor
from torch.nn.functional import pad

from ..shapes import VideoStride
from .base import Codec


class LTX2VideoCodec(Codec):
    """A codec between frames and latents [B, C, T, h, w].

    Latents are the mode of the VAE's distribution, normalized by its means and standard deviations as in LTX-2's pipelines. A
    VAE with timestep conditioning decodes at time 0 without noise, the pipeline's default.

    `vae.enable_tiling()` makes frames larger than its tiles be encoded and decoded tile by tile, and `decode_chunks` splits the
    time too.
    """

    encodes_images = True

    def __init__(self, vae: AutoencoderKLLTX2Video) -> None:
        super().__init__()
        self.vae = vae
        self.stride = VideoStride(vae.temporal_compression_ratio, vae.spatial_compression_ratio, vae.config.latent_channels)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, 1 + 8n, H, W, 3] in 0..1 to latents [B, C, 1 + n, h, w]."""
        pixels = (frames.movedim(-1, 1) * 2 - 1).to(self.vae.dtype)
        z = self.vae.encode(pixels).latent_dist.mode().float()
        mean, std = self._statistics(z)
        return (z - mean) * self.vae.config.scaling_factor / std

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, 1 + n, h, w] to frames [B, 1 + 8n, H, W, 3] in 0..1."""
        return _to_frames(self._decode(self._to_vae(latent), self._time(latent)))

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents to parts of the clip [B, f, H, W, 3] in 0..1, in order. Neighbouring parts are blended.

        The parts and the blending are those of diffusers' `use_framewise_decoding`. The decoder sees the frames around a part
        within its tile only, so that the result is close to that of `decode`, not equal.
        """
        vae, z, time = self.vae, self._to_vae(latent), self._time(latent)
        stride, size = (getattr(vae, f"tile_sample_{name}_num_frames") for name in ("stride", "min"))
        last, left = None, self.stride.frames(z.shape[2])
        for start in range(0, z.shape[2], stride // self.stride.time):
            decoded = self._decode(z[:, :, start : start + size // self.stride.time + 1], time)
            keep = stride if start else stride + 1
            if start:
                decoded = vae.blend_t(last, decoded[:, :, :-1], size - stride)
            last, shown = decoded, decoded[:, :, : min(keep, left)]
            left -= shown.shape[2]
            if shown.shape[2]:
                yield _to_frames(shown)

    def _decode(self, z: Tensor, time: Tensor | None) -> Tensor:
        """Decode to pixels. The decoder reflects its borders, which needs two cells: a side or a tile of one gets a second."""
        height, width = z.shape[3:]
        added = [int(side == 1 or self._tiles_end_in_one(side, name)) for side, name in ((width, "width"), (height, "height"))]
        wide = pad(z, (0, added[0], 0, added[1], 0, 0), mode="replicate") if any(added) else z
        cell = self.stride.space
        return self.vae.decode(wide, time, return_dict=False)[0][..., : height * cell, : width * cell]

    def _tiles_end_in_one(self, side: int, name: str) -> bool:
        return self.vae.use_tiling and side % (getattr(self.vae, f"tile_sample_stride_{name}") // self.stride.space) == 1

    def _to_vae(self, latent: Tensor) -> Tensor:
        mean, std = self._statistics(latent)
        return (latent * std / self.vae.config.scaling_factor + mean).to(self.vae.dtype)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (x.view(1, -1, 1, 1, 1).to(like.device, like.dtype) for x in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std

    def _time(self, latent: Tensor) -> Tensor | None:
        return latent.new_zeros(len(latent), dtype=self.vae.dtype) if self.vae.config.timestep_conditioning else None


def _to_frames(pixels: Tensor) -> Tensor:
    return (pixels.movedim(1, -1).float() * 0.5 + 0.5).clamp(0, 1)
