"""The frame rate of the clips that ComfyUI's own joint models make."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from comfy.model_base import MiniMaxH3
from comfy_extras import nodes_minimax_h3

from ...av_models.shapes import exact_fps

LTX_FPS = 25  # of ComfyUI's LTX-2, if the conditioning has none


def frame_rate(guider: Any) -> Fraction:
    """Returns the frames per second that the model of a guider is told, or has been trained for."""
    if isinstance(guider.model_patcher.model, MiniMaxH3):
        return Fraction(nodes_minimax_h3.FPS)
    entries = (each for conds in guider.original_conds.values() for each in conds)
    return exact_fps(next((each["frame_rate"] for each in entries if each.get("frame_rate")), LTX_FPS))


def shared_frame_rate(guiders: Sequence[Any], fps: float) -> Fraction:
    """Returns `fps`, or the frame rate of the guiders if it is 0. Raises ValueError if they do not have the same."""
    if fps > 0:
        return exact_fps(fps)
    rates = list(dict.fromkeys(map(frame_rate, guiders)))
    if len(rates) > 1:
        raise ValueError(f"the guiders have different frame rates, {', '.join(f'{float(each):g}' for each in rates)}; set fps")
    return rates[0]
