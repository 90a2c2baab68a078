"""MMAudio's codec for 16 kHz, which Ovi uses. It differs from the one for 44.1 kHz in the logarithm and the vocoder's end."""

from __future__ import annotations

import math
from typing import Any

from diffusers import MMAudioVAE, MMAudioVocoder
from diffusers.models.autoencoders.autoencoder_mmaudio import MMAudioMelSpectrogram
from torch import Tensor, nn

SAMPLE_RATE, N_FFT, HOP = 16_000, 1024, 256


class Log10Mel(MMAudioMelSpectrogram):
    """Mel spectrograms in decadic logarithms."""

    def forward(self, waveform: Tensor) -> Tensor:
        return super().forward(waveform) / math.log(10)


class MMAudioVAE16(MMAudioVAE):
    """The VAE for 16 kHz: latents of 512 samples, without a scale. Its sizes are those of the published one by default."""

    def __init__(self, mel_bins: int = 80, latent_channels: int = 20, hidden_channels: int = 384) -> None:
        super().__init__(
            mel_bins, latent_channels, hidden_channels, sample_rate=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, scaling_factor=1.0
        )
        self.mel_converter = make_mel_converter(mel_bins)


def make_mel_converter(mel_bins: int) -> Log10Mel:
    """Return the spectrograms of the VAE for 16 kHz."""
    return Log10Mel(SAMPLE_RATE, N_FFT, mel_bins, HOP)


class BigVGAN16(MMAudioVocoder):
    """The first BigVGAN, for 16 kHz: its last convolution has a bias, and its output ends in tanh."""

    def __init__(self, num_mels: int = 80, upsample_initial_channel: int = 1536, **config: Any) -> None:
        rates = {"upsample_rates": (4, 4, 2, 2, 2, 2), "upsample_kernel_sizes": (8, 8, 4, 4, 4, 4)}
        super().__init__(num_mels, upsample_initial_channel, **rates, **config)
        last = self.activation_post.act.alpha.numel()
        self.conv_post: nn.Module = nn.Sequential(nn.Conv1d(last, 1, 7, padding=3), nn.Tanh())
