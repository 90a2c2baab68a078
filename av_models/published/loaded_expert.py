"""The parts of a published checkpoint that a joint model uses, the same for all families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..conditioning import StreamConditioner
from ..contract import StreamName
from ..memory import fits
from ..offload import is_offloaded, offload


@dataclass(frozen=True)
class LoadedExpert:
    """One modality of a joint model.

    stream: "video" or "audio".
    expert: predicts its latents (see `SingleExpert`).
    codec: encodes and decodes them; a `VideoCodec` or an `AudioCodec`.
    conditioner: encodes its prompt or image.
    clip: for video, the size of the clips of its training: {"frames", "height", "width", "fps"}.
    card: what is known of it (see `experts.ExpertFamily.describe`); {} for the older families.
    scheduler: a diffusers scheduler as its own pipeline has it, used where it is sampled apart; None: Euler with the shared times.
    sampling: the settings of its own pipeline: {"steps", "scale"}; {}: none are known.
    default_negative: the negative prompt that its own pipeline recommends.
    """

    stream: StreamName
    expert: nn.Module
    codec: Any
    conditioner: StreamConditioner
    clip: dict[str, Any] | None = None
    card: dict[str, Any] = field(default_factory=dict)
    scheduler: Any = None
    sampling: dict[str, Any] = field(default_factory=dict)
    default_negative: str = ""


@contextmanager
def on_device_while_used(encoders: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Move text or image encoders to `device` inside the `with` block, and to the CPU after it.

    They are large and not needed during sampling. Of one that does not fit, one layer at a time is on the device.
    """
    for encoder in encoders:
        if not fits(encoder, device):
            offload(encoder, device)
        if not is_offloaded(encoder):
            encoder.to(device)
    try:
        yield
    finally:
        for encoder in encoders:
            if not is_offloaded(encoder):
                encoder.to("cpu")
