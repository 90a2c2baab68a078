"""The guidance node, which offers every guidance method."""

from __future__ import annotations

from ..av_models.guidance import GUIDANCE, make_guidance
from ..av_models.guidance.base import OWN_BLOCK
from .dropdowns import require_choice
from .host import io
from .own_settings import SCALE_AS_RECOMMENDED, check_marked
from .reports import guidance_report
from .sockets import AnyModelSocket, GuidanceInput, GuidanceSocket

SCALE = {"default": SCALE_AS_RECOMMENDED, "min": SCALE_AS_RECOMMENDED, "max": 30.0, "step": 0.1}
STRENGTH = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05}


class DuetGuidance(io.ComfyNode):
    """Creates a guidance. Each method shows its own inputs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetGuidance",
            display_name="Guidance",
            category="Duet/guidance",
            description="Sets how strongly the clip follows the prompts, and how strongly video and audio follow each other.",
            search_aliases=["duet", "cfg", "joint cfg", "dual cfg", "apg", "autoguidance", "cfg zero", "stg", "slg"],
            inputs=[
                io.DynamicCombo.Input(
                    "guidance",
                    options=[io.DynamicCombo.Option(name, inputs()) for name, inputs in CHOICES.items()],
                    tooltip="Guidance method. joint_cfg strengthens both the prompts and the match between video and audio.",
                ),
                io.Float.Input(
                    "a_to_v", **STRENGTH, tooltip="How strongly the video follows the audio. 1: as trained. 0: not at all."
                ),
                io.Float.Input(
                    "v_to_a", **STRENGTH, tooltip="How strongly the audio follows the video. 1: as trained. 0: not at all."
                ),
            ],
            outputs=[GuidanceSocket.Output(display_name="guidance", tooltip="Connect to the sampler or to Guidance Modifiers.")],
        )

    @classmethod
    def execute(cls, guidance: dict | None = None, a_to_v: float = 1.0, v_to_a: float = 1.0) -> io.NodeOutput:
        settings = dict(require_choice("guidance", guidance, CHOICES))
        name, bad_model = settings.pop("guidance"), settings.pop("bad_model", None)
        open_scales = _open_scales(settings)
        own = {key: value for key, value in settings.items() if key not in open_scales}
        strategy = make_guidance(name, **own, a_to_v=a_to_v, v_to_a=v_to_a)
        return io.NodeOutput(GuidanceInput(strategy, bad_model, open_scales), ui=guidance_report(strategy, open_scales))


def _open_scales(settings: dict) -> frozenset[str]:
    """Returns the names of the scales that are left to the model. Raises ValueError for other negative scales."""
    scales = {name: value for name, value in settings.items() if name.endswith("_scale")}
    for name, value in scales.items():
        check_marked(name, value, SCALE_AS_RECOMMENDED, SCALE["max"])
    return frozenset(name for name, value in scales.items() if value == SCALE_AS_RECOMMENDED)


def _scale_pair(kind: str, tip: str) -> list:
    """Returns the scale inputs of video and audio."""
    return [
        io.Float.Input(f"{stream}_{kind}scale", **SCALE, tooltip=tip.format(stream, other) + " -1: as the model recommends.")
        for stream, other in (("video", "audio"), ("audio", "video"))
    ]


def _default(guidance: str, name: str):
    return getattr(GUIDANCE[guidance], name)


def _scales() -> list:
    return _scale_pair("", "Guidance scale for the {}. 1: no guidance.")


def _cross_scales() -> list:
    return _scale_pair("cross_", "How strongly the {} is pulled toward matching the {}. 1: no guidance.")


def _skip_scales(guidance: str) -> list:
    return [
        *_scale_pair("skip_", "How strongly the {} is pushed away from the prediction without skip_block. 1: off."),
        io.Int.Input(
            "skip_block", advanced=True, default=_default(guidance, "skip_block"), min=OWN_BLOCK, max=200,
            tooltip="The transformer block to skip, counting from 0. -1: the model's own.",
        ),
    ]  # fmt: skip


def _autoguidance() -> list:
    bad = AnyModelSocket.Input(
        "bad_model", tooltip="A weaker version of the model: trained for fewer steps, or joined but untrained."
    )
    return [bad, *_scales()]


def _zero_star() -> list:
    tip = "Number of steps that are skipped at the start, at no cost. The paper uses 1."
    default = _default("cfg_zero_star", "zero_steps")
    return [*_scales(), io.Int.Input("zero_steps", advanced=True, default=default, min=0, max=100, tooltip=tip)]


def _apg() -> list:
    return [
        *_scales(),
        io.Float.Input(
            "eta", advanced=True, default=_default("apg", "eta"), min=0.0, max=1.0, step=0.05,
            tooltip="How much of the part that causes oversaturation is kept. 1, with momentum 0, is the same as cfg.",
        ),
        io.Float.Input(
            "momentum", advanced=True, default=_default("apg", "momentum"), min=-1.0, max=1.0, step=0.05,
            tooltip="Below 0, reduces what earlier steps already added. 0: off.",
        ),
        io.Float.Input(
            "norm_threshold", advanced=True, default=_default("apg", "norm_threshold"), min=0.0, max=1000.0, step=0.5,
            tooltip="Upper limit for the norm of each step's guidance. 0: no limit.",
        ),
    ]  # fmt: skip


# The first one is the default of a new node.
CHOICES = {
    "joint_cfg": _scales,
    "joint_cfg_star": _scales,
    "cfg": _scales,
    "dual_cfg": lambda: [*_scales(), *_cross_scales()],
    "modality_cfg": lambda: [*_scales(), *_cross_scales(), *_skip_scales("modality_cfg")],
    "autoguidance": _autoguidance,
    "cfg_zero_star": _zero_star,
    "apg": _apg,
    "stg": lambda: [*_scales(), *_skip_scales("stg")],
    "none": lambda: [],
}
