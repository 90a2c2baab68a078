"""The guidance node, which offers every guidance method."""

from __future__ import annotations

from ..av_models.guidance import GUIDANCE, make_guidance
from .host import io
from .reports import guidance_report
from .sockets import CATEGORY, AnyModelSocket, GuidanceInput, GuidanceSocket

SCALE = {"min": 0.0, "max": 30.0, "step": 0.1}
STRENGTH = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05}


class DuetGuidance(io.ComfyNode):
    """Creates a guidance. Each method shows its own inputs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetGuidance",
            display_name="Guidance",
            category=CATEGORY,
            description="Sets how strongly the clip follows the prompts, and how strongly picture and sound follow each other.",
            search_aliases=["duet", "cfg", "joint cfg", "dual cfg", "apg", "autoguidance", "cfg zero", "stg", "slg"],
            inputs=[
                io.DynamicCombo.Input(
                    "guidance",
                    options=[io.DynamicCombo.Option(name, inputs()) for name, inputs in CHOICES.items()],
                    tooltip="Guidance method. joint_cfg strengthens both the prompts and the match between picture and sound.",
                ),
                io.Float.Input(
                    "a_to_v", **STRENGTH, tooltip="How strongly the picture follows the sound. 1: as trained. 0: not at all."
                ),
                io.Float.Input(
                    "v_to_a", **STRENGTH, tooltip="How strongly the sound follows the picture. 1: as trained. 0: not at all."
                ),
            ],
            outputs=[GuidanceSocket.Output(display_name="guidance", tooltip="Connect to the sampler or to Guidance Modifiers.")],
        )

    @classmethod
    def execute(cls, guidance: dict, a_to_v: float, v_to_a: float) -> io.NodeOutput:
        settings = dict(guidance)
        name, bad_model = settings.pop("guidance"), settings.pop("bad_model", None)
        strategy = make_guidance(name, **settings, a_to_v=a_to_v, v_to_a=v_to_a)
        return io.NodeOutput(GuidanceInput(strategy, bad_model), ui=guidance_report(strategy))


def _scale_pair(guidance: str, kind: str, tip: str) -> list:
    """Returns the scale inputs of picture and sound, with the library's defaults."""
    return [
        io.Float.Input(name, default=_default(guidance, name), **SCALE, tooltip=tip.format(*streams))
        for name, *streams in ((f"video_{kind}scale", "picture", "sound"), (f"audio_{kind}scale", "sound", "picture"))
    ]


def _default(guidance: str, name: str):
    return getattr(GUIDANCE[guidance], name)


def _scales(guidance: str) -> list:
    return _scale_pair(guidance, "", "Guidance scale for the {}. 1: no guidance.")


def _cross_scales(guidance: str) -> list:
    return _scale_pair(guidance, "cross_", "How strongly the {} is pulled toward matching the {}. 1: no guidance.")


def _skip_scales(guidance: str) -> list:
    return [
        *_scale_pair(guidance, "skip_", "How strongly the {} is pushed away from the prediction without skip_block. 1: off."),
        io.Int.Input(
            "skip_block", default=_default(guidance, "skip_block"), min=0, max=200,
            tooltip="The transformer block to skip, counting from 0.",
        ),
    ]  # fmt: skip


def _autoguidance() -> list:
    bad = AnyModelSocket.Input(
        "bad_model", tooltip="A weaker version of the model: trained for fewer steps, or joined but untrained."
    )
    return [bad, *_scales("autoguidance")]


def _zero_star() -> list:
    tip = "Number of steps that are skipped at the start, at no cost. The paper uses 1."
    default = _default("cfg_zero_star", "zero_steps")
    return [*_scales("cfg_zero_star"), io.Int.Input("zero_steps", default=default, min=0, max=100, tooltip=tip)]


def _apg() -> list:
    return [
        *_scales("apg"),
        io.Float.Input(
            "eta", default=_default("apg", "eta"), min=0.0, max=1.0, step=0.05,
            tooltip="How much of the part that causes oversaturation is kept. 1, with momentum 0, is the same as cfg.",
        ),
        io.Float.Input(
            "momentum", default=_default("apg", "momentum"), min=-1.0, max=1.0, step=0.05,
            tooltip="Below 0, reduces what earlier steps already added. 0: off.",
        ),
        io.Float.Input(
            "norm_threshold", default=_default("apg", "norm_threshold"), min=0.0, max=1000.0, step=0.5,
            tooltip="Upper limit for the norm of each step's guidance. 0: no limit.",
        ),
    ]  # fmt: skip


# The first one is the default of a new node.
CHOICES = {
    "joint_cfg": lambda: _scales("joint_cfg"),
    "joint_cfg_star": lambda: _scales("joint_cfg_star"),
    "cfg": lambda: _scales("cfg"),
    "dual_cfg": lambda: [*_scales("dual_cfg"), *_cross_scales("dual_cfg")],
    "modality_cfg": lambda: [*_scales("modality_cfg"), *_cross_scales("modality_cfg"), *_skip_scales("modality_cfg")],
    "autoguidance": _autoguidance,
    "cfg_zero_star": _zero_star,
    "apg": _apg,
    "stg": lambda: [*_scales("stg"), *_skip_scales("stg")],
    "none": lambda: [],
}
