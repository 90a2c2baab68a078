"""The contract of a codec: pictures or sound to latents of unit scale, and back."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ..shapes import AudioStride, VideoStride


class Decoding(nn.Module):
    """What every codec has: `render` is `decode` with a gradient from what comes out to the latent."""

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        return self.render(latent)

    def render(self, latent: Tensor) -> Tensor:
        raise NotImplementedError


class VideoCodec(Protocol):
    stride: VideoStride

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, F, H, W, 3] in 0..1, of a representable shape, to latents [B, C, T, h, w] of about unit variance."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T, h, w] to frames [B, F, H, W, 3] in 0..1."""
        ...

    def render(self, latent: Tensor) -> Tensor:
        """As `decode`, differentiable."""
        ...


class AudioCodec(Protocol):
    stride: AudioStride
    sample_rate: int
    channels: int

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, channels, samples] in −1..1 to latents [B, C, T], or [B, C, T, F], of about unit variance."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T], or [B, C, T, F], to a waveform [B, channels, T · stride.samples]."""
        ...

    def render(self, latent: Tensor) -> Tensor:
        """As `decode`, differentiable."""
        ...
