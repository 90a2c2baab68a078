"""What the authors' code of Ovi computes with small random networks, in float32 on a CPU, with PyTorch's attention.

`ovi_reference.safetensors` holds the results of Ovi's FusionModel (one prediction coupled, with a skipped block, with a clean first
frame; each tower alone; the loop of OviFusionEngine with its UniPC scheduler), of Wan2_2_VAE, and of MMAudio's VAE and BigVGAN, for
the weights and inputs of this module.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file
from torch import Tensor

from duet_av.av_models.contract import AVCondition, AVLatent, Condition
from duet_av.av_models.joint.ovi import Ovi, OviSizes
from duet_av.av_models.published import wan_vae_file
from duet_av.av_models.published.joint.ovi_names import published_name
from duet_av.benchmarks.small_models.ovi import random_tensors, shapes_of

SIZES = OviSizes(
    layers=3, width=48, heads=2, feed_forward=64, video_channels=8, audio_channels=6, audio_hidden=256, text_width=32,
    frequencies=32,
)  # fmt: skip
VIDEO, AUDIO = (1, 8, 3, 4, 6), (1, 6, 9)
STEPS, SCALES, SKIP = 5, (4.0, 3.0), 1
WAN_VAE = {"encoder.conv1.weight": (8,), "decoder.head.0.gamma": (12,)}


def reference() -> dict[str, Tensor]:
    """Returns the results of the authors' code, by name."""
    return load_file(Path(__file__).with_suffix(".safetensors"))


def tower_tensors() -> dict[str, Tensor]:
    """Returns the weights of both towers, by their published names."""
    with torch.device("meta"):
        towers = Ovi(SIZES)
    return random_tensors(shapes_of(towers, published_name), 1)


def wan_vae_tensors() -> dict[str, Tensor]:
    """Returns the weights of Wan 2.2's VAE, by their published names."""
    with torch.device("meta"):
        vae = AutoencoderKLWan(**wan_vae_file.config_of(WAN_VAE))
    return random_tensors(shapes_of(vae, wan_vae_file.published_name), 2)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip() -> AVLatent:
    """Returns noisy latents."""
    return AVLatent(random(3, *VIDEO), random(4, *AUDIO))


def texts() -> tuple[AVCondition, AVCondition]:
    """Returns a prompt of 7 tokens for both modalities, and negative prompts of 5 and 6 tokens."""
    positive = text(5, 7)
    return AVCondition(positive, positive), AVCondition(text(6, 5), text(7, 6))


def text(seed: int, length: int) -> Condition:
    return Condition(random(seed, 1, length, SIZES.text_width), torch.ones(1, length, dtype=torch.bool))
