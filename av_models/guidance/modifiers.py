"""What can be added to any guidance strategy: an interval, curves over the steps, rescaling, a ramp over the frames."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..contract import AVLatent
from .curve import Curve
from .step import Step

SAME_TIME = 1e-4  # schedulers keep their times in float32, and some start a hair below 1


class Modified(Protocol):
    """What of a guidance its modifiers look at."""

    a_to_v: float
    v_to_a: float
    scale_curve: Curve | None
    a_to_v_curve: Curve | None
    v_to_a_curve: Curve | None
    interval_low: float
    interval_high: float

    @property
    def scales(self) -> dict[str, float]: ...


def scales_at(guidance: Modified, step: Step) -> dict[str, float]:
    """The scales that differ at `step`, by name: s' = 1 + (s − 1) · strength."""
    if guidance.scale_curve is None and guidance.interval_low <= 0 and guidance.interval_high >= 1:
        return {}
    curve = guidance.scale_curve(_along(step)) if guidance.scale_curve else 1.0
    times = {"video": step.t_video, "audio": step.t_audio}
    inside = {modality: in_interval(guidance, t) for modality, t in times.items()}
    return {name: 1 + (s - 1) * curve * inside[name.split("_")[0]] for name, s in guidance.scales.items()}


def in_interval(guidance: Modified, t: float) -> bool:
    return guidance.interval_low - SAME_TIME <= t <= guidance.interval_high + SAME_TIME


def strengths_at(guidance: Modified, step: Step) -> dict[str, float]:
    """The directional strengths that have a curve, as they are at `step`."""
    curves = {"a_to_v": guidance.a_to_v_curve, "v_to_a": guidance.v_to_a_curve}
    return {name: getattr(guidance, name) * curve(_along(step)) for name, curve in curves.items() if curve}


def over_frames(value: float, unguided: float, ramp: float, video: Tensor) -> float | Tensor:
    """A weight or scale of the picture [B, C, T, H, W] as the ramp over its frames has it; `unguided`: what it is at s = 1."""
    if ramp == 1 or value == unguided:
        return value
    frames = torch.linspace(unguided + ramp * (value - unguided), value, video.shape[2], device=video.device)
    return frames.to(video.dtype).view(-1, 1, 1)


def rescaled(guided: AVLatent, positive: AVLatent | None, phi: float) -> AVLatent:
    """std of the guided prediction brought back towards the prompt's own by `phi` (arXiv 2305.08891, eqs. 15–16)."""
    if not phi or positive is None:
        return guided
    return AVLatent(_rescaled(guided.video, positive.video, phi), _rescaled(guided.audio, positive.audio, phi))


def _rescaled(guided: Tensor, positive: Tensor, phi: float) -> Tensor:
    if guided is positive:
        return guided
    return guided * (1 + phi * (_std(positive) / _std(guided).clamp_min(1e-12) - 1))


def _std(x: Tensor) -> Tensor:
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True)


def _along(step: Step) -> float:
    """0 at the first step, 1 at the last."""
    return step.index / max(1, step.count - 1)
