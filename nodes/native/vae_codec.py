"""A VAE that ComfyUI has loaded, as a codec of Duet. ComfyUI manages its memory, and decodes in tiles where it is short."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import comfy.latent_formats
import torch
from comfy.ldm.audio.autoencoder import AudioOobleckVAE
from comfy.ldm.wan.vae import WanVAE
from comfy.ldm.wan.vae2_2 import WanVAE as WanVAE22
from comfy.model_management import load_models_gpu
from comfy.sd import VAE
from torch import Tensor
from torch.nn import functional as F

from ...av_models.codecs.base import Codec
from ...av_models.shapes import AudioStride, VideoStride

FORMATS = {WanVAE: comfy.latent_formats.Wan21, WanVAE22: comfy.latent_formats.Wan22}
VIDEO_VAE = "video_vae"


def wrap_vae(vae: VAE, name: str) -> Codec:
    """Returns a VAE of ComfyUI as a codec. name: of the node's input. Raises ValueError for a VAE of another model."""
    network = type(vae.first_stage_model)
    if name == VIDEO_VAE and network in FORMATS:
        return VideoVAE(vae, name)
    if name != VIDEO_VAE and network is AudioOobleckVAE:
        return AudioVAE(vae, name)
    wanted = "the VAE of Wan 2.1 or 2.2" if name == VIDEO_VAE else "that of Stable Audio or TangoFlux"
    raise ValueError(f"{name} holds {network.__name__}, which Duet does not use; connect {wanted}")


class _HostVAE(Codec):
    """A codec without weights of its own. Two of the same VAE are equal, so that a joint model is not loaded twice."""

    def __init__(self, vae: VAE, name: str) -> None:
        super().__init__()
        self.host_vae, self.name = vae, name

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.host_vae.first_stage_model is other.host_vae.first_stage_model

    def __hash__(self) -> int:
        return hash((type(self), id(self.host_vae.first_stage_model)))

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        raise ValueError(f"{self.name} is a VAE of ComfyUI, through which Aligner has no gradients; disconnect {self.name}")


class VideoVAE(_HostVAE):
    """Wan's VAE between frames [B, 1 + 4n, H, W, 3] in 0..1 and latents [B, C, 1 + n, h, w], as ComfyUI's samplers have them."""

    encodes_images = True
    frames_at_once = 8

    def __init__(self, vae: VAE, name: str) -> None:
        super().__init__(vae, name)
        self.format = FORMATS[type(vae.first_stage_model)]()
        self.stride = VideoStride(4, vae.upscale_ratio[1], vae.latent_channels)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames to latents of about unit variance."""
        return self.format.process_in(torch.cat([self.host_vae.encode(clip.float()) for clip in frames]).float()).to(frames.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to frames, without a gradient."""
        return self.host_vae.decode(self.format.process_out(latent.float())).float().to(latent.device)


class AudioVAE(_HostVAE):
    """Stable Audio's VAE between waveforms [B, 2, samples] in −1..1 and latents [B, C, T], without scaling."""

    def __init__(self, vae: VAE, name: str) -> None:
        super().__init__(vae, name)
        self.stride = AudioStride(vae.upscale_ratio, vae.latent_channels)
        self.sample_rate, self.channels = vae.audio_sample_rate, vae.output_channels

    def with_steps(self, steps: int) -> AudioVAE:
        """Returns this codec for clips of so many latent steps; 0: as many as a clip needs."""
        other: Any = copy(self)
        other.stride = replace(self.stride, steps=steps)
        return other

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform, padded with zeros to whole latent steps, to the mode of the VAE's distribution."""
        vae, steps = self.host_vae, self.stride.latent_length(waveform.shape[-1])
        padded = F.pad(waveform, (0, steps * self.stride.samples - waveform.shape[-1]))
        load_models_gpu([vae.patcher], memory_required=vae.memory_used_encode(padded.shape, vae.vae_dtype))
        encoded = vae.first_stage_model.encoder(padded.to(vae.device, vae.vae_dtype))  # ComfyUI would draw from the distribution
        return encoded.chunk(2, 1)[0].float().to(waveform.device)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to a waveform, without a gradient."""
        return self.host_vae.decode(latent.float()).float().movedim(-1, 1).clamp(-1, 1).to(latent.device)
