"""The contract of a codec: pictures or sound to latents of unit scale, and back."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..shapes import AudioStride, VideoStride


class VideoCodec(Protocol):
    stride: VideoStride

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, F, H, W, 3] in 0..1, of a representable shape, to latents [B, C, T, h, w] of about unit variance."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T, h, w] to frames [B, F, H, W, 3] in 0..1."""
        ...


class AudioCodec(Protocol):
    stride: AudioStride
    sample_rate: int
    channels: int

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, channels, samples] in −1..1 to latents [B, C, T] of about unit variance."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T] to a waveform [B, channels, T · stride.samples]."""
        ...
