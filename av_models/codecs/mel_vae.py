"""The audio codec of AudioLDM and AudioLDM2: a VAE of log-mel spectrograms and a HiFi-GAN vocoder."""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from transformers import SpeechT5HifiGan
from transformers.audio_utils import mel_filter_bank

from ..shapes import AudioStride
from .base import Codec

N_FFT = 1024
F_MAX = 8000.0  # Hz
MIN_MAGNITUDE = 1e-5  # magnitudes below this value are silence


class MelCodec(Codec):
    """A codec between a mono waveform and latents [B, C, T, F]; the published 16 kHz models have 640 samples per latent step.

    Spectrograms are those of AudioLDM: Hann windows of 1024 samples, one column per `hop` samples (the vocoder's hop
    length), magnitudes in Slaney mel bands from 0 to 8 kHz, natural logarithm. AudioLDM was trained on audio with peak 0.5.
    """

    channels = 1
    filters: Tensor
    window: Tensor

    def __init__(self, vae: AutoencoderKL, vocoder: SpeechT5HifiGan) -> None:
        super().__init__()
        self.vae, self.vocoder = vae, vocoder
        config, bands = vocoder.config, vocoder.config.model_in_dim
        self.sample_rate, self.hop = config.sampling_rate, math.prod(config.upsample_rates)
        self.columns = 2 ** (len(vae.config.block_out_channels) - 1)
        self.stride = AudioStride(self.hop * self.columns, vae.config.latent_channels, bands // self.columns)
        filters = mel_filter_bank(N_FFT // 2 + 1, bands, 0.0, F_MAX, self.sample_rate, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute the log-mel spectrogram [B, columns, bands] of a waveform [B, samples], padded to whole latent steps."""
        samples = self.stride.latent_length(waveform.shape[-1]) * self.stride.samples
        padded = F.pad(waveform.float(), (0, samples - waveform.shape[-1]))
        magnitude = torch.stft(padded, N_FFT, self.hop, window=self.window, pad_mode="reflect", return_complex=True).abs()
        mel = magnitude[..., : samples // self.hop].transpose(1, 2) @ self.filters
        return mel.clamp_min(MIN_MAGNITUDE).log()

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, 1, samples] in −1..1 to latents [B, C, T, F]. Raises ValueError for more than one channel."""
        if waveform.shape[1] != self.channels:
            raise ValueError(f"the audio has {waveform.shape[1]} channels, this codec takes {self.channels}; mix it down")
        mel = self.spectrogram(waveform[:, 0])[:, None].to(self.vae.dtype)
        return self.vae.encode(mel).latent_dist.mode().float() * self.vae.config.scaling_factor

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T, F] to a waveform [B, 1, T · stride.samples] in −1..1."""
        mel = self.vae.decode(1 / self.vae.config.scaling_factor * latent.to(self.vae.dtype), return_dict=False)[0]
        waveform = self.vocoder(mel[:, 0].to(self.vocoder.dtype)).float()
        return waveform[:, None, : latent.shape[2] * self.stride.samples].clamp(-1, 1)
