"""Modifiers for any guidance: an interval, curves over the steps, rescaling, and a ramp over the frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..av_models.guidance import Curve
from ..av_models.guidance.base import NO_BLOCK
from .host import io
from .reports import guidance_report
from .sockets import GuidanceInput, GuidanceSocket

FLAT = [(0.0, 1.0), (1.0, 1.0)]
DEFAULTS = {"interval_low": 0.0, "interval_high": 1.0, "rescale": 0.0, "frame_ramp": 1.0, "audio_rescale": -1.0}
SKIP_AS_RECOMMENDED = -1
NOISE_LEVEL = {"min": 0.0, "max": 1.0, "step": 0.01}


class DuetGuidanceModifiers(io.ComfyNode):
    """Changes a guidance. Inputs at their default keep what earlier modifiers have set."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetGuidanceModifiers",
            display_name="Guidance Modifiers",
            category="Duet/guidance",
            description="Changes a guidance over the steps: where it applies, how strong it is and how much it is rescaled.",
            search_aliases=["duet", "guidance interval", "cfg rescale", "guidance schedule"],
            inputs=[
                GuidanceSocket.Input("guidance", tooltip="The guidance to change."),
                _curve_input("scale_curve", "the guidance strength"),
                io.Float.Input(
                    "interval_low", default=0.0, **NOISE_LEVEL,
                    tooltip="No guidance below this noise level. 0 is a clean clip, 1 is pure noise. Above 0 saves time.",
                ),
                io.Float.Input(
                    "interval_high", default=1.0, **NOISE_LEVEL,
                    tooltip="No guidance above this noise level. 0 is a clean clip, 1 is pure noise. Below 1 saves time.",
                ),
                io.Float.Input(
                    "rescale", advanced=True, default=0.0, **NOISE_LEVEL,
                    tooltip="CFG rescale: restores the standard deviation that the prediction has without guidance. 0: off. 1: "
                    "fully.",
                ),
                _curve_input("a_to_v_curve", "a_to_v", advanced=True),
                _curve_input("v_to_a_curve", "v_to_a", advanced=True),
                io.Float.Input(
                    "frame_ramp", advanced=True, default=1.0, **NOISE_LEVEL, optional=True,
                    tooltip="Guidance strength at the first frame, rising to 1 at the last. 1: off. Use 0 for Stable Video "
                    "Diffusion.",
                ),
                io.Float.Input(
                    "audio_rescale", advanced=True, default=-1.0, min=-1.0, max=1.0, step=0.01, optional=True,
                    tooltip="rescale of the audio. -1: the same as rescale.",
                ),
                io.Int.Input(
                    "negative_skip_block", advanced=True, default=SKIP_AS_RECOMMENDED, min=NO_BLOCK, max=200, optional=True,
                    tooltip="The transformer block that is skipped for the negative prompt, counting from 0. This weakens the "
                    "negative prediction, so that guidance acts more. -1: as the model recommends. -2: off.",
                ),
            ],
            outputs=[GuidanceSocket.Output(display_name="guidance", tooltip="Connect to the sampler or to another modifier.")],
        )  # fmt: skip

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        guidance: GuidanceInput,
        scale_curve: Any,
        interval_low: float,
        interval_high: float,
        rescale: float,
        a_to_v_curve: Any,
        v_to_a_curve: Any,
        frame_ramp: float = 1.0,
        audio_rescale: float = -1.0,
        negative_skip_block: int = SKIP_AS_RECOMMENDED,
    ) -> io.NodeOutput:
        curves = {"scale_curve": scale_curve, "a_to_v_curve": a_to_v_curve, "v_to_a_curve": v_to_a_curve}
        settings = {name: _parse_curve(name, drawn) for name, drawn in curves.items()}
        settings |= {"interval_low": interval_low, "interval_high": interval_high}
        settings |= {"rescale": rescale, "frame_ramp": frame_ramp, "audio_rescale": audio_rescale}
        changes = {name: value for name, value in settings.items() if value != DEFAULTS.get(name)}
        if negative_skip_block != SKIP_AS_RECOMMENDED:
            changes["negative_skip_block"] = negative_skip_block
            guidance = replace(guidance, open_skip=False)
        strategy = replace(guidance.strategy, **changes)
        return io.NodeOutput(replace(guidance, strategy=strategy), ui=guidance_report(strategy, guidance.open_scales))


def _curve_input(name: str, of: str, advanced: bool | None = None):
    tip = f"Multiplies {of}, from the first step to the last. 1: unchanged."
    return io.Curve.Input(name, default=FLAT, tooltip=tip, advanced=advanced)


def _parse_curve(name: str, drawn: Any) -> Curve | None:
    """Converts a curve from the curve editor, or a list of points. Returns None if the curve is 1 everywhere."""
    points, kind = (drawn.get("points"), drawn.get("interpolation")) if isinstance(drawn, dict) else (drawn, None)
    try:
        curve = Curve(tuple((float(x), float(y)) for x, y in points), kind or "monotone_cubic")
    except TypeError:
        raise ValueError(f"{name} is {drawn!r}; use points such as [[0, 1], [1, 0]]") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return None if curve.constant == 1 else curve
