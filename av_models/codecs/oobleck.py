"""Stable Audio's VAE, which TangoFlux uses (diffusers' AutoencoderOobleck), as a codec over waveforms."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor
from torch.nn import functional as F

from ..shapes import AudioStride
from .base import Decoding


class OobleckCodec(Decoding):
    """`config`: AutoencoderOobleck's. Latents are the distribution's mode, as they are."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.vae = AutoencoderOobleck(**config)
        known = self.vae.config
        self.stride = AudioStride(math.prod(known.downsampling_ratios), known.decoder_input_channels)
        self.sample_rate, self.channels = known.sampling_rate, known.audio_channels

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        steps = self.stride.latent_length(waveform.shape[-1])
        padded = F.pad(waveform, (0, steps * self.stride.samples - waveform.shape[-1]))
        return self.vae.encode(padded).latent_dist.mode()

    def render(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent, return_dict=False)[0].clamp(-1, 1)
