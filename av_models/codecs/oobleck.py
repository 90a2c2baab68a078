"""Stable Audio's VAE, which TangoFlux uses (diffusers' AutoencoderOobleck), as an audio codec."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace
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
        self._use(make_network(AutoencoderOobleck, config))

    @classmethod
    def of(cls, vae: AutoencoderOobleck, steps: int = 0) -> OobleckCodec:
        """Return the codec of a VAE that was loaded. steps: the latent steps of every clip (see `AudioStride`)."""
        codec = cls.__new__(cls)
        Codec.__init__(codec)
        codec.config = dict(vae.config)
        codec._use(vae, steps)
        return codec

    def _use(self, vae: AutoencoderOobleck, steps: int = 0) -> None:
        self.vae, config = vae, vae.config
        self.stride = AudioStride(math.prod(config.downsampling_ratios), config.decoder_input_channels, steps=steps)
        self.sample_rate, self.channels = config.sampling_rate, config.audio_channels

    def with_steps(self, steps: int) -> OobleckCodec:
        """Return this codec, with the same weights, for clips of so many latent steps; 0: as many as a clip needs."""
        other = copy(self)
        other.stride = replace(self.stride, steps=steps)
        return other

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, channels, samples] to latents [B, C, T]. It is padded with zeros to whole latent steps.

        A clip that is longer than its latent steps, by less than one of them, is cut off.
        """
        steps = self.stride.latent_length(waveform.shape[-1])
        padded = F.pad(waveform, (0, steps * self.stride.samples - waveform.shape[-1]))
        return self.vae.encode(padded.to(self.vae.dtype)).latent_dist.mode().to(waveform.dtype)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, channels, T · stride.samples] in −1..1."""
        decoded = self.vae.decode(latent.to(self.vae.dtype), return_dict=False)[0]
        return decoded.to(latent.dtype).clamp(-1, 1)
