"""The frame rate of the clips that ComfyUI's own joint models make."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ...av_models.shapes import exact_fps
from .models import guider_model


def shared_frame_rate(guiders: Sequence[Any], fps: float) -> Fraction:
    """Returns `fps`, or the frame rate of the guiders if it is 0. Raises ValueError if they do not have the same."""
    if fps > 0:
        return exact_fps(fps)
    rates = list(dict.fromkeys(_frame_rate(guiders, number) for number in range(len(guiders))))
    if len(rates) > 1:
        raise ValueError(f"the guiders have different frame rates, {', '.join(f'{float(each):g}' for each in rates)}; set fps")
    return rates[0]


def _frame_rate(guiders: Sequence[Any], number: int) -> Fraction:
    model, conds = guider_model(guiders, number), guiders[number].original_conds
    return exact_fps(model.frame_rate(each for entries in conds.values() for each in entries))
