"""Measures and estimates memory: that of weights and of decoding, and what a device has free."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .codecs.base import VideoCodec

PIXEL_LIVE = 12  # feature maps of the last width that live at once in a video decoder, for each pixel decoded at a time
ROOM = 2**30  # bytes beside the weights of a text encoder


def weight_bytes(*networks: nn.Module) -> int:
    """Return the bytes of the weights of networks."""
    return sum(tensor.nbytes for network in networks for tensor in (*network.parameters(), *network.buffers()))


def estimate_decoding(codec: VideoCodec, latents: Sequence[int]) -> int:
    """Estimate the bytes that decoding latents of the shape [B, C, T, h, w] needs beside the weights, with the frames themselves.

    Frames in float32, and PIXEL_LIVE feature maps of as many frames as the codec decodes at a time.
    """
    network: Any = codec
    rows, _, length, height, width = latents
    pixels = height * width * codec.stride.space**2
    frames = codec.stride.frames(length)
    maps = min(frames, getattr(codec, "frames_at_once", frames)) * pixels * _last_width(codec) * PIXEL_LIVE
    return rows * frames * pixels * 3 * 4 + maps * value_bytes(network)


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


def _last_width(codec: VideoCodec) -> int:
    """Return the feature maps for each pixel before the last convolution of a decoder, which makes RGB or patches of it."""
    vae: Any = getattr(codec, "vae", codec)
    decoder = getattr(vae, "decoder", vae)
    last = [each for each in decoder.modules() if isinstance(each, (nn.Conv2d, nn.Conv3d))][-1:]
    return max((3 * each.in_channels // each.out_channels for each in last), default=1)


def value_bytes(network: nn.Module) -> int:
    """Return the bytes of an activation: of the widest dtype that many weights are computed in; fp8 is computed in 2."""
    sizes: Counter[int] = Counter()
    for tensor in network.parameters():
        sizes[max(2, tensor.element_size())] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else 4
