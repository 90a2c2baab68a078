"""Modifiers of any guidance strategy: a guidance interval, curves over the steps, rescaling, and a ramp over the frames."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..contract import AVLatent
from .curve import Curve
from .step import Step

SAME_TIME = 1e-4  # schedulers store times in float32, and some start slightly below 1


class HasModifiers(Protocol):
    """The settings of a guidance strategy that its modifiers use."""

    @property
    def a_to_v(self) -> float: ...
    @property
    def v_to_a(self) -> float: ...
    @property
    def scale_curve(self) -> Curve | None: ...
    @property
    def a_to_v_curve(self) -> Curve | None: ...
    @property
    def v_to_a_curve(self) -> Curve | None: ...
    @property
    def interval_low(self) -> float: ...
    @property
    def interval_high(self) -> float: ...
    @property
    def scales(self) -> dict[str, float]: ...


def scales_at_step(guidance: HasModifiers, step: Step) -> dict[str, float]:
    """Return the guidance scales at `step` by name, s' = 1 + (s − 1) · curve, and 1 outside the interval.

    Returns {} where neither a curve nor an interval is set.
    """
    if guidance.scale_curve is None and guidance.interval_low <= 0 and guidance.interval_high >= 1:
        return {}
    curve = guidance.scale_curve(_progress(step)) if guidance.scale_curve else 1.0
    times = {"video": step.t_video, "audio": step.t_audio}
    inside = {modality: in_interval(guidance, t) for modality, t in times.items()}
    return {name: 1 + (s - 1) * curve * inside[name.split("_")[0]] for name, s in guidance.scales.items()}


def in_interval(guidance: HasModifiers, t: float) -> bool:
    """Return whether time `t`, from 0 (clean) to 1 (noise), lies in the guidance interval."""
    return guidance.interval_low - SAME_TIME <= t <= guidance.interval_high + SAME_TIME


def strengths_at_step(guidance: HasModifiers, step: Step) -> dict[str, float]:
    """Return the directional strengths ("a_to_v", "v_to_a") at `step`, for those that have a curve."""
    curves = {"a_to_v": guidance.a_to_v_curve, "v_to_a": guidance.v_to_a_curve}
    return {name: getattr(guidance, name) * curve(_progress(step)) for name, curve in curves.items() if curve}


def ramp_over_frames(value: float, unguided: float, ramp: float, video: Tensor) -> float | Tensor:
    """Return a weight or scale of the video as a linear ramp over its frames, shaped [T, 1, 1].

    value: its value at the last frame. unguided: its value at guidance scale 1.
    ramp: the part of `value − unguided` that the first frame gets; 1 means no ramp, and `value` itself is returned.
    video: a prediction [B, C, T, H, W], for its number of frames, device and dtype.
    """
    if ramp == 1 or value == unguided:
        return value
    frames = torch.linspace(unguided + ramp * (value - unguided), value, video.shape[2], device=video.device)
    return frames.to(video.dtype).view(-1, 1, 1)


def rescale_prediction(guided: AVLatent, positive: AVLatent | None, video_phi: float, audio_phi: float) -> AVLatent:
    """Rescale the guided prediction towards the standard deviation of the prompt's prediction.

    video_phi, audio_phi: φ of arXiv 2305.08891, eqs. 15–16, from 0 (off) to 1. Without a `positive` prediction nothing changes.
    """
    if positive is None:
        return guided
    return AVLatent(_rescale(guided.video, positive.video, video_phi), _rescale(guided.audio, positive.audio, audio_phi))


def _rescale(guided: Tensor, positive: Tensor, phi: float) -> Tensor:
    if not phi or guided is positive:
        return guided
    return guided * (1 + phi * (_std(positive) / _std(guided).clamp_min(1e-12) - 1))


def _std(x: Tensor) -> Tensor:
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True)


def _progress(step: Step) -> float:
    """Return the position of a step in its run: 0 for the first, 1 for the last."""
    return step.index / max(1, step.count - 1)
