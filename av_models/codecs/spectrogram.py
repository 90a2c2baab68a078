"""A small audio autoencoder that can be trained on two CPU cores.

It encodes log-magnitude spectrograms. Decoding recovers the phases with the Griffin-Lim algorithm.
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import AudioStride
from .base import Codec, require_positive

N_FFT, HOP, STEPS = 512, 125, 4  # a latent step has STEPS spectrogram columns
BINS = N_FFT // 2 + 1
MIN_MAGNITUDE = 1e-3  # magnitudes below this value are silence
MAX_MAGNITUDE = 60.0
PHASE_ITERATIONS, PHASE_MOMENTUM, PHASE_SEED = 48, 0.99, 0
GRADIENT_ITERATIONS = 4  # in decode_with_grad; enough for a binder: its embedding keeps a cosine similarity of 0.9988


class ResidualBlock1d(nn.Module):
    """Two 1-D convolutions with a residual connection, [N, C, T] to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class SpectrogramCodec(Codec):
    """A codec between a mono waveform [B, 1, samples] and latents [B, latent_channels, T], with 500 samples per latent step.

    width: channels of the network. sample_rate: in Hz.
    """

    channels = 1
    latent_mean: Tensor
    latent_std: Tensor
    window: Tensor

    def __init__(self, latent_channels: int = 32, width: int = 384, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.config = {"latent_channels": latent_channels, "width": width, "sample_rate": sample_rate}
        require_positive(self.config)
        self.sample_rate = sample_rate
        self.stride = AudioStride(HOP * STEPS, latent_channels)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(BINS, width, 3, padding=1),
            ResidualBlock1d(width),
            nn.Conv1d(width, width, STEPS, stride=STEPS),
            ResidualBlock1d(width),
            nn.Conv1d(width, latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(latent_channels, width, 3, padding=1),
            ResidualBlock1d(width),
            nn.ConvTranspose1d(width, width, STEPS, stride=STEPS),
            ResidualBlock1d(width),
            ResidualBlock1d(width),
            nn.Conv1d(width, BINS, 1),
        )

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute the log magnitudes [B, BINS, 4T] of a waveform [B, samples], scaled to −1 (silence) .. about 1."""
        columns = self.stride.latent_length(waveform.shape[-1]) * STEPS
        padded = F.pad(waveform, (0, columns * HOP - waveform.shape[-1]))
        magnitude = self.stft(padded).abs()[..., :columns]
        scale = math.log(MAX_MAGNITUDE / MIN_MAGNITUDE) / 2
        return (magnitude.clamp_min(MIN_MAGNITUDE) / MIN_MAGNITUDE).log() / scale - 1

    def stft(self, waveform: Tensor) -> Tensor:
        """Compute the complex spectrogram [B, BINS, columns] of a waveform [B, samples]."""
        return torch.stft(waveform, N_FFT, HOP, window=self.window, center=True, pad_mode="constant", return_complex=True)

    def magnitude(self, spectrogram: Tensor) -> Tensor:
        """Undo the scaling of `spectrogram`. Magnitudes near the minimum become zero, so that silence stays exact."""
        magnitude = ((spectrogram + 1) * (math.log(MAX_MAGNITUDE / MIN_MAGNITUDE) / 2)).exp() * MIN_MAGNITUDE
        return (magnitude - 2 * MIN_MAGNITUDE).clamp_min(0)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, 1, samples] in −1..1 to latents [B, C, T]. Raises ValueError for more than one channel."""
        if waveform.shape[1] != self.channels:
            raise ValueError(f"the audio has {waveform.shape[1]} channels, this codec takes {self.channels}; mix it down")
        return (self.encoder(self.spectrogram(waveform[:, 0])) - self.latent_mean[:, None]) / self.latent_std[:, None]

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, 1, 500 · T] in −1..1, without a gradient."""
        spectrogram = self.decoder(latent * self.latent_std[:, None] + self.latent_mean[:, None])
        return self.to_waveform(spectrogram)[:, None].clamp(-1, 1)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode as `decode` does, with a gradient.

        The gradient flows through the magnitudes only. The phases are constants, from fewer Griffin-Lim iterations.
        """
        spectrogram = self.decoder(latent * self.latent_std[:, None] + self.latent_mean[:, None])
        with torch.no_grad():
            approximate = self.to_waveform(spectrogram, GRADIENT_ITERATIONS)
            phases = self.stft(approximate)[..., : spectrogram.shape[-1]].angle()
        complex_spectrogram = torch.polar(self.magnitude(spectrogram), phases)
        length = spectrogram.shape[-1] * HOP
        padded = F.pad(torch.view_as_real(complex_spectrogram), (0, 0, 0, 1))
        return torch.istft(torch.view_as_complex(padded), N_FFT, HOP, window=self.window, length=length)[:, None].clamp(-1, 1)

    def to_waveform(self, spectrogram: Tensor, iterations: int = PHASE_ITERATIONS) -> Tensor:
        """Compute a waveform [B, samples] with the fast Griffin-Lim algorithm (Perraudin et al., 2013).

        The random initial phases have a fixed seed, so that the same latent always gives the same audio.
        """
        magnitude = F.pad(self.magnitude(spectrogram), (0, 1), mode="replicate")
        with torch.random.fork_rng(devices=[magnitude.device] if magnitude.is_cuda else []):
            torch.manual_seed(PHASE_SEED)
            return torchaudio.functional.griffinlim(
                magnitude, self.window, N_FFT, HOP, N_FFT, power=1.0, n_iter=iterations,
                momentum=PHASE_MOMENTUM, length=(magnitude.shape[-1] - 1) * HOP, rand_init=True,
            )  # fmt: skip
