"""MMAudio's codec (diffusers' MMAudioVAE and MMAudioVocoder), which Kandinsky 6 uses: a VAE of log-mel spectrograms and BigVGAN."""

from __future__ import annotations

import torch
from diffusers import MMAudioVAE, MMAudioVocoder
from torch import Tensor
from torch.nn import functional as F

from ..shapes import AudioStride
from .base import Codec


class MMAudioCodec(Codec):
    """A codec between a mono waveform and latents [B, C, T]; the published 44.1 kHz model has 1024 samples per latent step.

    Latents are the mode of the VAE's distribution, scaled by its scaling factor.

    A clip has the latent steps that its own samples need. That is the length of Kandinsky 6's pipeline for every number of frames
    that it makes, 1 + 4n, at 24 frames per second. For other numbers of frames the pipeline makes more of both, and Duet trims the
    video; the audio ends with the clip.
    """

    channels = 1

    def __init__(self, vae: MMAudioVAE, vocoder: MMAudioVocoder) -> None:
        super().__init__()
        self.vae, self.vocoder = vae, vocoder
        vae.mel_converter.float()  # an STFT needs a window of the waveform's precision
        self.stride = AudioStride(vae.latent_hop_length, vae.config.latent_channels)
        self.sample_rate = vae.config.sample_rate

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform [B, 1, samples] in −1..1, padded with zeros to whole latent steps, to latents [B, C, T].

        Raises ValueError for more than one channel.
        """
        if waveform.shape[1] != self.channels:
            raise ValueError(f"the audio has {waveform.shape[1]} channels, this codec takes {self.channels}; mix it down")
        samples = self.stride.latent_length(max(waveform.shape[-1], self.vae.config.n_fft)) * self.stride.samples
        padded = F.pad(waveform[:, 0].float(), (0, samples - waveform.shape[-1]))
        z = self.vae.encode(padded).latent_dist.mode().float() * self.vae.config.scaling_factor
        return z[..., : self.stride.latent_length(waveform.shape[-1])]

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, 1, T · stride.samples] in −1..1."""
        mel = self.vae.decode(latent.to(self.vae.dtype) / self.vae.config.scaling_factor, return_dict=False)[0]
        waveform = self.vocoder(mel.to(self.vocoder.dtype), return_dict=False)[0].float()
        return waveform[..., : latent.shape[-1] * self.stride.samples]
