"""Estimates the memory that a joint model needs on its device, and plans what stays in main memory where it has less."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .codecs.base import VideoCodec
from .contract import LatentShape
from .offload import is_offloaded

if TYPE_CHECKING:
    from .joint_model import JointModel

LIVE = 24  # values of a transformer's width that live at once, for each token of a block: hidden states, q, k, v, feed-forward
PIXEL_LIVE = 12  # feature maps of the last width that live at once in a video decoder, for each pixel decoded at a time
ROOM = 2**30  # bytes beside the weights of a text encoder
GB = 1e9
SMALL = 5e8


def weight_bytes(*networks: nn.Module) -> int:
    """Return the bytes of the weights of networks."""
    return sum(tensor.nbytes for network in networks for tensor in (*network.parameters(), *network.buffers()))


def estimate_sampling(model: JointModel, latents: LatentShape, rows: int) -> int:
    """Estimate the bytes that a network call needs beside the weights.

    latents: of one row. rows: of the batch that the network runs at once.

    tokens × width × LIVE × bytes of a value. The width is the one that most of the weights of linear layers have as input, and a
    token is a patch of the video's latents or a step of the audio's.
    """
    _, _, length, height, width = latents.video
    tokens = length * height * width // model.limits.multiple**2 + latents.audio[2]
    network: Any = model.denoiser
    return rows * tokens * _width(network) * LIVE * _value_bytes(network)


def estimate_decoding(codec: VideoCodec, latents: Sequence[int]) -> int:
    """Estimate the bytes that decoding latents of the shape [B, C, T, h, w] needs beside the weights, with the frames themselves.

    Frames in float32, and PIXEL_LIVE feature maps of as many frames as the codec decodes at a time.
    """
    network: Any = codec
    rows, _, length, height, width = latents
    pixels = height * width * codec.stride.space**2
    frames = codec.stride.frames(length)
    maps = min(frames, getattr(codec, "frames_at_once", frames)) * pixels * _last_width(codec) * PIXEL_LIVE
    return rows * frames * pixels * 3 * 4 + maps * _value_bytes(network)


@dataclass(frozen=True)
class MemoryPlan:
    """What sampling needs, in bytes. weights, activations: of the denoiser. free: on its device. offloaded: weights elsewhere."""

    weights: int
    activations: int
    free: int
    offloaded: int = 0

    @property
    def line(self) -> str:
        """The plan in words; "" for small models, which run everywhere."""
        needed = self.weights + self.activations
        if needed < SMALL and not self.offloaded:
            return ""
        stay = f", {self.offloaded / GB:.1f} GB stay offloaded" if self.offloaded else ""
        return f"needs about {needed / GB:.1f} GB, {self.free / GB:.1f} GB are free{stay}"


def plan_sampling(model: JointModel, latents: LatentShape, rows: int, free: int, can_offload: bool) -> MemoryPlan:
    """Plan the sampling of `latents`, `rows` of them at once, on a device with `free` bytes.

    can_offload: whether the device has a memory of its own. A denoiser that was offloaded stays so.
    """
    denoiser = model.parts["denoiser"]
    weights, activations = weight_bytes(denoiser), estimate_sampling(model, latents, rows)
    short = can_offload and weights + activations > free
    return MemoryPlan(weights, activations, free, weights if short or is_offloaded(denoiser) else 0)


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device; of the computer for a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        (kilobytes,) = re.findall(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except (OSError, ValueError):  # not on Linux
        return 2**63
    return 1024 * int(kilobytes)


def fits(network: nn.Module, device: torch.device) -> bool:
    """Return whether the weights of a network on the CPU fit on `device`, with some memory to run it."""
    return device.type == "cpu" or weight_bytes(network) + ROOM <= free_memory(device)


def _width(network: nn.Module) -> int:
    weights: Counter[int] = Counter()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            weights[module.in_features] += module.out_features * module.in_features
    return weights.most_common(1)[0][0] if weights else 1


def _last_width(codec: VideoCodec) -> int:
    """Return the feature maps for each pixel before the last convolution of a decoder, which makes RGB or patches of it."""
    vae: Any = getattr(codec, "vae", codec)
    decoder = getattr(vae, "decoder", vae)
    last = [each for each in decoder.modules() if isinstance(each, (nn.Conv2d, nn.Conv3d))][-1:]
    return max((3 * each.in_channels // each.out_channels for each in last), default=1)


def _value_bytes(network: nn.Module) -> int:
    """Return the bytes of an activation: of the widest dtype that many weights are computed in; fp8 is computed in 2."""
    sizes: Counter[int] = Counter()
    for tensor in network.parameters():
        sizes[max(2, tensor.element_size())] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else 4
