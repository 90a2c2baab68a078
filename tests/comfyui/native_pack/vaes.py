"""VAEs as ComfyUI builds them, small and with random weights. Their latents have the real sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import comfy.ldm.minimax.audio_vae
import comfy.ldm.minimax.vae
import comfy.sd
import torch
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from comfy.taesd.taehv import TAEHV
from torch import nn

LTX_VIDEO = {
    "dims": 3, "latent_channels": 128, "patch_size": 4, "norm_layer": "pixel_norm", "latent_log_var": "uniform",
    "encoder_base_channels": 8, "decoder_base_channels": 8,
    "encoder_blocks": [["res_x", 1], ["compress_all", 1], ["compress_all", 1], ["compress_all", 1]],
    "decoder_blocks": [["compress_all", 1], ["compress_all", 1], ["compress_all", 1], ["res_x", 1]],
}  # fmt: skip
MEL = {
    "double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "in_channels": 2, "out_ch": 2, "ch": 8,
    "ch_mult": [1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "mid_block_add_attention": False, "norm_type": "pixel",
    "causality_axis": "height",
}  # fmt: skip
LTX_AUDIO = {
    "audio_vae": {"model": {"params": {"ddconfig": MEL, "sampling_rate": 16000}}, "preprocessing": {"stft": {"hop_length": 160}}},
    "vocoder": {  # 48 kHz
        "upsample_rates": [6, 5, 4, 2, 2], "upsample_kernel_sizes": [12, 11, 8, 4, 4], "upsample_initial_channel": 64,
        "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]],
    },
}  # fmt: skip
H3_VIDEO = {"ch": 32, "ch_mult": (1,) * 6, "num_res_blocks": 1}
H3_AUDIO = {"encoder_dim": 2, "latent_dim": 64, "decoder_dim": 128}


def _weights(network: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    weights = network.state_dict()
    for name, w in weights.items():
        if w.is_floating_point() and "filter" not in name:
            one = "std" in name or "alpha" in name or (w.ndim == 1 and "weight" in name)
            spread = 0.1 if one or w.ndim == 1 else 1.0 / max(1, w[0].numel()) ** 0.5
            quiet = 0.01 if name == "decoder.conv_post.weight" else 1.0  # MiniMax-H3 clips its audio
            weights[name] = float(one) + quiet * spread * torch.randn(w.shape, generator=chance)
    return weights


def ltx_video(seed: int) -> comfy.sd.VAE:
    return comfy.sd.VAE(_weights(VideoVAE(config=LTX_VIDEO), seed), metadata={"config": json.dumps({"vae": LTX_VIDEO})})


def ltx_audio(seed: int) -> comfy.sd.VAE:
    metadata = {"config": json.dumps(LTX_AUDIO)}
    return comfy.sd.VAE(_weights(AudioVAE(metadata), seed), metadata=metadata)


def h3_video(seed: int) -> comfy.sd.VAE:
    module = comfy.ldm.minimax.vae
    with patch.object(module, "ViT3DDecoder", partial(module.ViT3DDecoder, num_layers=1, heads=1)):
        return _of_smaller_class(module, "MiniMaxH3VideoVAE", H3_VIDEO, seed)


def h3_audio(seed: int) -> comfy.sd.VAE:
    return _of_smaller_class(comfy.ldm.minimax.audio_vae, "MiniMaxH3AudioVAE", H3_AUDIO, seed)


def _of_smaller_class(module: object, name: str, sizes: dict[str, object], seed: int) -> comfy.sd.VAE:
    """ComfyUI's VAE of a network that takes its sizes from its code alone."""
    smaller = partial(getattr(module, name), **sizes)
    with patch.object(module, name, smaller):
        return comfy.sd.VAE(_weights(smaller(), seed))


def taehv(channels: int, seed: int) -> comfy.sd.VAE:
    """The small VAE that ComfyUI has for models of videos."""
    return comfy.sd.VAE(_weights(TAEHV(channels), seed))


class RepeatedSteps:
    """Stands in for the VAE of an audio model, whose sizes ComfyUI fixes: a latent step becomes as many samples of its mean."""

    def __init__(self, samples: int, sample_rate: int) -> None:
        self.samples, self.audio_sample_rate = samples, sample_rate

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        sound = latent.mean(1).repeat_interleave(self.samples, -1)
        return sound[..., None].expand(-1, -1, 2).clone()


VIDEO: dict[str, Callable[[int], comfy.sd.VAE]] = {
    "ltx": ltx_video, "h3": h3_video, "wan21": partial(taehv, 16), "wan22_5b": partial(taehv, 48), "hunyuan15": partial(taehv, 32),
}  # fmt: skip
AUDIO: dict[str, Callable[[int], Any]] = {
    "ltx": ltx_audio, "h3": h3_audio, "stable_audio_3": lambda seed: RepeatedSteps(4096, 44_100),
    "ace_step_15": lambda seed: RepeatedSteps(1920, 48_000),
}  # fmt: skip


class TinyVAE:
    """The video's VAE. LTX-2: latents [B, 128, F, H/32, W/32] as those of the kind "ltx2", 8 (F − 1) + 1 frames. H3: 17 k + 5."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "tests"
    KINDS = VIDEO

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(cls.KINDS),), "seed": ("INT", {"default": 0})}}

    def make(self, kind, seed):
        return (self.KINDS[kind](seed),)


class TinyAudioVAE(TinyVAE):
    """The audio's VAE. LTX-2: 48 kHz, 25 latent frames a second. H3: 32 kHz, 40 latent frames a second."""

    KINDS = AUDIO
