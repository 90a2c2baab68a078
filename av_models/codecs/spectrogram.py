"""A small audio autoencoder that two CPU cores can train: log-magnitude spectrogram ↔ latents, phases by Griffin-Lim."""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import AudioStride
from .base import Decoding

N_FFT, HOP, STEPS = 512, 125, 4  # STEPS spectrogram columns make a latent step
BINS = N_FFT // 2 + 1
FLOOR = 1e-3  # magnitudes below are silence
CEILING = 60.0
PHASE_ITERATIONS, PHASE_MOMENTUM, PHASE_SEED = 48, 0.99, 0
RENDERED_ITERATIONS = 4  # where a gradient is wanted: Bounce-Bind's embedding is the same to a cosine of 0.9988


class Residual1d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class SpectrogramCodec(Decoding):
    """Mono waveform at `sample_rate` Hz ↔ latents [B, channels, T], one step per 500 samples."""

    channels = 1

    def __init__(self, latent_channels: int = 32, width: int = 384, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.config = {"latent_channels": latent_channels, "width": width, "sample_rate": sample_rate}
        self.sample_rate = sample_rate
        self.stride = AudioStride(HOP * STEPS, latent_channels)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(BINS, width, 3, padding=1),
            Residual1d(width),
            nn.Conv1d(width, width, STEPS, stride=STEPS),
            Residual1d(width),
            nn.Conv1d(width, latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(latent_channels, width, 3, padding=1),
            Residual1d(width),
            nn.ConvTranspose1d(width, width, STEPS, stride=STEPS),
            Residual1d(width),
            Residual1d(width),
            nn.Conv1d(width, BINS, 1),
        )

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Waveform [B, samples] to log magnitudes scaled to −1 (silence) .. about 1, [B, BINS, 4T]."""
        columns = self.stride.latent_length(waveform.shape[-1]) * STEPS
        padded = F.pad(waveform, (0, columns * HOP - waveform.shape[-1]))
        magnitude = self.stft(padded).abs()[..., :columns]
        scale = math.log(CEILING / FLOOR) / 2
        return (magnitude.clamp_min(FLOOR) / FLOOR).log() / scale - 1

    def stft(self, waveform: Tensor) -> Tensor:
        return torch.stft(waveform, N_FFT, HOP, window=self.window, center=True, pad_mode="constant", return_complex=True)

    def magnitude(self, spectrogram: Tensor) -> Tensor:
        """The inverse of the scaling above; what lies at the floor becomes true silence."""
        magnitude = ((spectrogram + 1) * (math.log(CEILING / FLOOR) / 2)).exp() * FLOOR
        return (magnitude - 2 * FLOOR).clamp_min(0)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        if waveform.shape[1] != self.channels:
            raise ValueError(f"the sound has {waveform.shape[1]} channels; this codec takes {self.channels}: mix it down")
        return (self.encoder(self.spectrogram(waveform[:, 0])) - self.latent_mean[:, None]) / self.latent_std[:, None]

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        spectrogram = self.decoder(latent * self.latent_std[:, None] + self.latent_mean[:, None])
        return self.to_waveform(spectrogram)[:, None].clamp(-1, 1)

    def render(self, latent: Tensor) -> Tensor:
        """As `decode`, with rougher phases, held constant: only magnitudes carry a gradient."""
        spectrogram = self.decoder(latent * self.latent_std[:, None] + self.latent_mean[:, None])
        with torch.no_grad():
            found = self.to_waveform(spectrogram, RENDERED_ITERATIONS)
            phases = self.stft(found)[..., : spectrogram.shape[-1]].angle()
        turned = torch.polar(self.magnitude(spectrogram), phases)
        length = spectrogram.shape[-1] * HOP
        whole = F.pad(torch.view_as_real(turned), (0, 0, 0, 1))
        return torch.istft(torch.view_as_complex(whole), N_FFT, HOP, window=self.window, length=length)[:, None].clamp(-1, 1)

    def to_waveform(self, spectrogram: Tensor, iterations: int = PHASE_ITERATIONS) -> Tensor:
        """Phases by fast Griffin-Lim (Perraudin 2013), from fixed random ones, so that the same latent sounds the same."""
        magnitude = F.pad(self.magnitude(spectrogram), (0, 1), mode="replicate")
        with torch.random.fork_rng(devices=[magnitude.device] if magnitude.is_cuda else []):
            torch.manual_seed(PHASE_SEED)
            return torchaudio.functional.griffinlim(
                magnitude, self.window, N_FFT, HOP, N_FFT, power=1.0, n_iter=iterations,
                momentum=PHASE_MOMENTUM, length=(magnitude.shape[-1] - 1) * HOP, rand_init=True,
            )  # fmt: skip
