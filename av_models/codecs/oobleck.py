"""Stable Audio's VAE, which TangoFlux uses (diffusers' AutoencoderOobleck), as an audio codec."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor
from torch.nn import functional as F

from ..arguments import make_network
from ..shapes import AudioStride
from .base import Codec


class OobleckCodec(Codec):
    """A codec between waveforms and latents [B, C, T].

    config: the arguments of AutoencoderOobleck. Latents are the mode of the VAE's distribution, without scaling.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.vae = make_network(AutoencoderOobleck, config)
        full_config = self.vae.config
        self.stride = AudioStride(math.prod(full_config.downsampling_ratios), full_config.decoder_input_channels)
        self.sample_rate, self.channels = full_config.sampling_rate, full_config.audio_channels

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, channels, samples], padded with zeros to whole latent steps, to latents [B, C, T]."""
        steps = self.stride.latent_length(waveform.shape[-1])
        padded = F.pad(waveform, (0, steps * self.stride.samples - waveform.shape[-1]))
        return self.vae.encode(padded).latent_dist.mode()

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, channels, T · stride.samples] in −1..1."""
        return self.vae.decode(latent, return_dict=False)[0].clamp(-1, 1)
