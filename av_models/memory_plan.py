"""Estimates the memory that sampling needs on the denoiser's device, and plans what stays in main memory where it has less."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from .contract import LatentShape
from .memory import value_bytes, weight_bytes
from .offload import is_offloaded

if TYPE_CHECKING:
    from .joint_model import JointModel

LIVE = 24  # values of a transformer's width that live at once, for each token of a block: hidden states, q, k, v, feed-forward
GB = 1e9
SMALL = 5e8


def estimate_sampling(model: JointModel, latents: LatentShape, rows: int) -> int:
    """Estimate the bytes that a network call needs beside the weights.

    latents: of one row. rows: of the batch that the network runs at once.

    tokens × width × LIVE × bytes of a value. The width is the one that most of the weights of linear layers have as input, and a
    token is a patch of the video's latents or a step of the audio's.
    """
    _, _, length, height, width = latents.video
    tokens = length * height * width // model.limits.multiple**2 + latents.audio[2]
    network: Any = model.denoiser
    return rows * tokens * _width(network) * LIVE * value_bytes(network)


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


def _width(network: nn.Module) -> int:
    weights: Counter[int] = Counter()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            weights[module.in_features] += module.out_features * module.in_features
    return weights.most_common(1)[0][0] if weights else 1
