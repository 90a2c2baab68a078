"""The interface of codecs: autoencoders between video frames or waveforms and latents of about unit variance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from ..printable import quoted
from ..shapes import AudioStride, VideoStride


class Codec(nn.Module):
    """Base class of codecs. A subclass implements `encode` and `decode_with_grad`."""

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to frames or a waveform, without a gradient."""
        return self.decode_with_grad(latent)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents as `decode` does, with a gradient from the output to the latents."""
        raise NotImplementedError

    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode video latents part by part, without a gradient, and yield the frames [B, f, H, W, 3] of each part in order.

        Codecs that decode parts of a clip alone override it. This one yields the whole clip.
        """
        yield self.decode(latent)


class VideoCodec(Protocol):
    """A codec for video. stride: how frames and pixels map to latent cells.

    Some have `frames_at_once`, the frames that `decode` decodes at a time where these are not all, for estimates of memory.
    Some have `encodes_images`: `encode` takes one frame alone, and gives the first latent frame of a clip that starts with it.
    """

    stride: VideoStride

    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B, F, H, W, 3] in 0..1 to latents [B, C, T, h, w] of about unit variance.

        F, H and W must be representable (see `VideoStride.representable`).
        """
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T, h, w] to frames [B, F, H, W, 3] in 0..1, without a gradient."""
        ...

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents as `decode` does, with a gradient."""
        ...

    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """Decode latents part by part, without a gradient, and yield the frames [B, f, H, W, 3] of each part in order."""
        ...


class AudioCodec(Protocol):
    """A codec for audio. stride: samples per latent step; sample_rate: in Hz; channels: of the waveform."""

    stride: AudioStride
    sample_rate: int
    channels: int

    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, channels, samples] in −1..1 to latents [B, C, T] or [B, C, T, F] of about unit variance."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] or [B, C, T, F] to a waveform [B, channels, T · stride.samples], without a gradient."""
        ...

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents as `decode` does, with a gradient."""
        ...


def decode_in_place(codec: VideoCodec | AudioCodec, latent: Tensor) -> Tensor:
    """Decode latents on the device of the codec, where memory management has left it, and return the result there."""
    weight = next(codec.parameters(), None) if isinstance(codec, nn.Module) else None
    return codec.decode(latent if weight is None else latent.to(weight.device))


LARGEST = {"time": 256, "space": 1024, "samples": 2**20, "bands": 4096, "channels": 4096, "sample_rate": 768_000, "steps": 2**16}


def check_sizes(codec: VideoCodec | AudioCodec, path: str | Path) -> None:
    """Raise ValueError if the compression or the sample rate of the codec in the file `path` is impossible."""
    sizes = asdict(codec.stride)
    if isinstance(codec.stride, AudioStride):
        sizes |= {"sample_rate": getattr(codec, "sample_rate"), "channels": getattr(codec, "channels")}
    for name, most in LARGEST.items():
        value, least = sizes.get(name, 1), 0 if name in ("bands", "steps") else 1
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{path}: the codec's {name} is {quoted(value)}; use a file with {least} to {most}")


def require_positive(config: Mapping[str, int]) -> None:
    """Raise ValueError if a size of a network is below 1."""
    for name, value in config.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; give a whole number of at least 1")
