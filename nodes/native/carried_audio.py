"""How ComfyUI's sampler carries the audio of a MODEL on the noise schedule of the video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.minimax.model import time_shift_sigma
from comfy.model_base import MiniMaxH3

from .joined.model import streams_of
from .joined.streams import Stream


@dataclass(frozen=True)
class CarriedAudio:
    """The sampler's audio is y = factor(σ) x, with the audio's own noisy latent x. A clean audio is carried times `scale`."""

    scale: float = 1.0
    factor: Callable[[float], float] = lambda sigma: 1.0


def carried_audio(patcher: Any, transformer_options: Mapping[str, Any]) -> CarriedAudio:
    """Returns how the audio of a MODEL is carried: joined models, MiniMax-H3, and others as they are."""
    streams = streams_of(patcher)
    if streams is not None:
        return _of_stream(streams.audio)
    if not isinstance(patcher.model, MiniMaxH3):
        return CarriedAudio()
    network, scale = patcher.model.diffusion_model, patcher.model.audio_scale()
    shifts = [
        float(transformer_options.get(f"minimax_h3_sigma_shift_{name}", getattr(network, f"sigma_shift_{name}")))
        for name in ("video", "audio")
    ]  # fmt: skip
    return CarriedAudio(scale, lambda sigma: sigma / time_shift_sigma(sigma, *shifts) if sigma > 0 else scale)


def _of_stream(audio: Stream) -> CarriedAudio:
    def factor(sigma: float) -> float:
        found = audio.factor(torch.tensor(sigma, dtype=torch.float64))
        return 1.0 if found is None else float(found)

    return CarriedAudio(audio.scale, factor)
