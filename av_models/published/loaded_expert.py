"""What a joint model takes of a published checkpoint, whatever its family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..conditioning import StreamConditioner
from ..contract import StreamName


@dataclass(frozen=True)
class LoadedExpert:
    """One stream: its expert, its codec and what conditions it, and for a picture the size of clip it was trained on."""

    stream: StreamName
    expert: nn.Module
    codec: nn.Module
    conditioner: StreamConditioner
    clip: dict[str, Any] | None = None


@contextmanager
def on_device_while_used(encoders: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Encoders of text or pictures on `device` while they run: they are large, and wanted only before sampling."""
    for encoder in encoders:
        encoder.to(device)
    try:
        yield
    finally:
        for encoder in encoders:
            encoder.to("cpu")
