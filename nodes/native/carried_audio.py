"""How ComfyUI's sampler carries the audio of a MODEL on the noise schedule of the video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .adapters import ADAPTERS
from .joined.model import streams_of


@dataclass(frozen=True)
class CarriedAudio:
    """The sampler's audio is y = factor(σ) x, with the audio's own noisy latent x. A clean audio is carried times `scale`."""

    scale: float = 1.0
    factor: Callable[[float], float] = lambda sigma: 1.0


def carried_audio(patcher: Any, transformer_options: Mapping[str, Any]) -> CarriedAudio:
    """Returns how the audio of a MODEL is carried: joined models, MiniMax-H3, and others as they are."""
    streams = streams_of(patcher)
    if streams is not None:
        audio = streams.audio
        return CarriedAudio() if audio.carrying is None else CarriedAudio(
            audio.scale, lambda sigma: float(audio.carrying.factor(torch.tensor(sigma, dtype=torch.float64)))
        )  # fmt: skip
    adapter = next((make(patcher.model) for base, make in ADAPTERS.items() if isinstance(patcher.model, base)), None)
    if adapter is None or adapter.audio_scale() == 1:
        return CarriedAudio()
    scale = adapter.audio_scale()
    return CarriedAudio(scale, lambda sigma: sigma / adapter.audio_time(sigma, transformer_options) if sigma > 0 else scale)
