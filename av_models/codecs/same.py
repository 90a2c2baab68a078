"""Stable Audio 3's VAE (diffusers' AutoencoderSAME) as an audio codec."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderSAME
from torch import Tensor
from torch.nn import functional as F

from ..arguments import make_network
from ..shapes import AudioStride
from .base import Codec


class SAMECodec(Codec):
    """A codec between waveforms and latents [B, C, T]. config: the arguments of AutoencoderSAME."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self._use(make_network(AutoencoderSAME, config))

    @classmethod
    def of(cls, vae: AutoencoderSAME) -> SAMECodec:
        """Return the codec of a VAE that was loaded."""
        codec = cls.__new__(cls)
        Codec.__init__(codec)
        codec.config = dict(vae.config)
        codec._use(vae)
        return codec

    def _use(self, vae: AutoencoderSAME) -> None:
        self.vae = vae
        self.stride = AudioStride(vae.downsampling_ratio, vae.config.latent_dim)
        self.sample_rate, self.channels = vae.config.sampling_rate, vae.config.audio_channels

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, channels, samples], padded with zeros to whole latent steps, to latents [B, C, T]."""
        steps = self.stride.latent_length(waveform.shape[-1])
        padded = F.pad(waveform, (0, steps * self.stride.samples - waveform.shape[-1]))
        return self.vae.encode(padded.to(self.vae.dtype), return_dict=False)[0].to(waveform.dtype)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, channels, T · stride.samples] in −1..1."""
        return self.vae.decode(latent.to(self.vae.dtype), return_dict=False)[0].to(latent.dtype).clamp(-1, 1)
