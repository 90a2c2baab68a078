"""How ComfyUI's sampler carries the audio of a MODEL on the noise schedule of the video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy import model_base

from .adapters.minimax_h3 import MiniMaxH3
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
    if not isinstance(patcher.model, model_base.MiniMaxH3):
        return CarriedAudio()
    return _of_h3(MiniMaxH3(patcher.model), transformer_options)


def _of_h3(model: MiniMaxH3, transformer_options: Mapping[str, Any]) -> CarriedAudio:
    scale = model.audio_scale()

    def factor(sigma: float) -> float:
        return sigma / model.times(sigma, transformer_options)[1] if sigma > 0 else scale

    return CarriedAudio(scale, factor)


def _of_stream(audio: Stream) -> CarriedAudio:
    def factor(sigma: float) -> float:
        found = audio.factor(torch.tensor(sigma, dtype=torch.float64))
        return 1.0 if found is None else float(found)

    return CarriedAudio(audio.scale, factor)
