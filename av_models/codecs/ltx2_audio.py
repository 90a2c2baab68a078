"""LTX-2's audio codec: diffusers' VAE of log-mel spectrograms, and its vocoder, with or without bandwidth extension."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram

from ..shapes import AudioStride
from .base import Codec

N_FFT = 1024
MIN_MAGNITUDE = 1e-5  # magnitudes below this value are silence


class LTX2AudioCodec(Codec):
    """A codec between a stereo waveform and latents [B, C, T, F], 25 latent steps per second.

    Spectrograms are those of LTX-2's training: at the VAE's sample rate, Hann windows of 1024 samples, magnitudes in Slaney mel
    bands up to half the rate, natural logarithm. The vocoder's waveform has a higher rate, and ends up to 0.05 s before the last
    latent step does; the rest is silence. Like the pipeline, a clip has the number of latent steps nearest to its length.
    """

    def __init__(self, vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder | LTX2VocoderWithBWE) -> None:
        super().__init__()
        self.vae, self.vocoder = vae, vocoder
        self.vae_rate, hop, bands = vae.config.sample_rate, vae.config.mel_hop_length, vae.config.mel_bins
        self.sample_rate, self.channels = vocoder.config.output_sampling_rate, vocoder.config.out_channels
        self.steps = vae.temporal_compression_ratio  # spectrogram columns per latent step
        samples, rest = divmod(self.steps * hop * self.sample_rate, self.vae_rate)
        if rest:
            raise ValueError(f"its vocoder's {self.sample_rate} Hz do not fit the audio VAE's {self.vae_rate} Hz")
        bins = bands // vae.mel_compression_ratio
        self.stride = AudioStride(samples, vae.config.latent_channels, bins, nearest=True)
        self.mel = MelSpectrogram(
            self.vae_rate,
            N_FFT,
            hop_length=hop,
            f_max=self.vae_rate / 2,
            n_mels=bands,
            power=1.0,
            norm="slaney",
            mel_scale="slaney",
        )

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, channels, samples] in −1..1 to latents [B, C, T, F]. Raises ValueError for other channels."""
        if waveform.shape[1] != self.channels:
            raise ValueError(f"the audio has {waveform.shape[1]} channels, this codec takes {self.channels}; mix it")
        steps = self.stride.latent_length(waveform.shape[-1])
        waveform = F.pad(waveform.float(), (0, max(0, steps * self.stride.samples - waveform.shape[-1])))
        mel = self.mel(resample(waveform, self.sample_rate, self.vae_rate)).clamp_min(MIN_MAGNITUDE).log().transpose(2, 3)
        columns = mel[:, :, : (steps - 1) * self.steps + 1]  # the VAE is causal: the first column alone is the first step
        z = self.vae.encode(columns.to(self.vae.dtype)).latent_dist.mode().float()
        mean, std = self._statistics(z)
        return (z - mean) / std

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T, F] to a waveform [B, channels, T · stride.samples] in −1..1."""
        mean, std = self._statistics(latent)
        mel = self.vae.decode((latent * std + mean).to(self.vae.dtype), return_dict=False)[0]
        waveform = self.vocoder(mel.to(self.vocoder.dtype)).float()
        return F.pad(waveform, (0, latent.shape[2] * self.stride.samples - waveform.shape[-1])).clamp(-1, 1)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations [C, 1, F]: the VAE has them for each channel and band."""
        parts = (self.vae.latents_mean, self.vae.latents_std)
        mean, std = (x.view(like.shape[1], 1, like.shape[3]).to(like.device, like.dtype) for x in parts)
        return mean, std
