"""A small video autoencoder that can be trained on two CPU cores.

It has the latent geometry of Wan (1 + 4n frames, 8 × 8 pixels per cell) and only 2-D convolutions. Each latent frame encodes
its own group of four frames and no others, so that a clip can be decoded group by group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import VideoStride
from .base import Codec, require_positive

GROUP = 4  # frames per latent frame; the first frame is repeated to fill a group
SPACE = 8
CHUNK = 8  # latent frames that `decode_chunks` decodes at a time


class PixelNorm(nn.Module):
    """RMS normalization over the channels at each pixel. It does not depend on the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt() * self.weight


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with a residual connection, [N, C, H, W] to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = PixelNorm(channels), PixelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class PatchVideoCodec(Codec):
    """A codec between frames [B, F, H, W, 3] and latents [B, channels, T, H/8, W/8], with T = 1 + (F − 1)/4.

    channels: latent channels.
    fine, middle, coarse: network channels at 1/2, 1/4 (per frame) and 1/8 (per group of frames) of the resolution.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, channels: int = 24, fine: int = 24, middle: int = 64, coarse: int = 256) -> None:
        super().__init__()
        self.config = {"channels": channels, "fine": fine, "middle": middle, "coarse": coarse}
        require_positive(self.config)
        self.stride = VideoStride(GROUP, SPACE, channels)
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_std", torch.ones(channels))
        self.frame_encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, fine, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1),
            ResidualBlock(middle),
        )
        self.group_encoder = nn.Sequential(
            nn.Conv2d(GROUP * middle, coarse, 3, stride=2, padding=1),
            ResidualBlock(coarse),
            PixelNorm(coarse),
            nn.Conv2d(coarse, channels, 1),
        )
        self.group_decoder = nn.Sequential(
            nn.Conv2d(channels, coarse, 3, padding=1),
            ResidualBlock(coarse),
            ResidualBlock(coarse),
            nn.Conv2d(coarse, GROUP * middle * 4, 1),
        )
        self.frame_decoder = nn.Sequential(
            ResidualBlock(middle),
            ResidualBlock(middle),
            nn.Conv2d(middle, fine * 4, 1),
            nn.PixelShuffle(2),
            ResidualBlock(fine),
            nn.Conv2d(fine, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this overload

    def encode_groups(self, groups: Tensor) -> Tensor:
        """Encode groups of frames [N, 4, 3, H, W] in −1..1 to latents [N, C, H/8, W/8], before normalization."""
        h = self.frame_encoder(groups.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return self.group_encoder(h.unflatten(0, (-1, GROUP)).flatten(1, 2))

    def decode_groups(self, z: Tensor) -> Tensor:
        """Decode latents [N, C, h, w], without normalization, to groups of frames [N, 4, 3, 8h, 8w] in about −1..1."""
        h = self.group_decoder(z.contiguous(memory_format=torch.channels_last))
        h = F.pixel_shuffle(h.unflatten(1, (GROUP, -1)).flatten(0, 1), 2)
        return self.frame_decoder(h.contiguous(memory_format=torch.channels_last)).unflatten(0, (-1, GROUP))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, 1 + 4n, H, W, 3] in 0..1 to latents [B, C, 1 + n, H/8, W/8].

        Raises ValueError for a number of frames or a resolution that the codec cannot represent.
        """
        height, width = frames.shape[2:4]
        if height % SPACE or width % SPACE:
            raise ValueError(f"the frames are {width}×{height}; use a width and height that are multiples of {SPACE}")
        x = frames.movedim(-1, 2) * 2 - 1
        x = torch.cat([x[:, :1].expand(-1, GROUP - 1, -1, -1, -1), x], dim=1)
        if x.shape[1] % GROUP:
            raise ValueError(f"the clip has {frames.shape[1]} frames; use 1 + {GROUP}·n frames")
        z = self.encode_groups(x.unflatten(1, (-1, GROUP)).flatten(0, 1))
        z = z.unflatten(0, (frames.shape[0], -1)).transpose(1, 2)
        return (z - self.latent_mean.view(-1, 1, 1, 1)) / self.latent_std.view(-1, 1, 1, 1)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, 1 + n, h, w] to frames [B, 1 + 4n, 8h, 8w, 3] in 0..1."""
        return self._decode_all(latent)[:, GROUP - 1 :]

    @torch.no_grad()
    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents as `decode` does, and yield the frames of a few latent frames at a time."""
        for index, part in enumerate(latent.split(CHUNK, 2)):
            yield self._decode_all(part)[:, GROUP - 1 if index == 0 else 0 :]

    def _decode_all(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T, h, w] to frames [B, 4 T, H, W, 3] in 0..1, with the repeated ones of the first group."""
        z = latent * self.latent_std.view(-1, 1, 1, 1) + self.latent_mean.view(-1, 1, 1, 1)
        z = z.transpose(1, 2)
        frames = self.decode_groups(z.flatten(0, 1)).unflatten(0, z.shape[:2]).flatten(1, 2)
        return (frames.movedim(2, -1) * 0.5 + 0.5).clamp(0, 1)
