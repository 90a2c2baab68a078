"""Guidance: one socket for every strategy."""

from __future__ import annotations

from ..av_models.guidance import Step, make_guidance, rows_of
from .host import io
from .types import CATEGORY, GuidanceSocket, report

SCALE = {"min": 0.0, "max": 30.0, "step": 0.1}
STRENGTH = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05}


class DuetGuidance(io.ComfyNode):
    """The choice brings its own settings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetGuidance",
            display_name="Guidance",
            category=CATEGORY,
            description="How strongly the clip follows the prompts, and how strongly picture and sound follow each other.",
            search_aliases=["duet", "cfg", "joint cfg", "dual cfg"],
            inputs=[
                io.DynamicCombo.Input(
                    "guidance",
                    options=[io.DynamicCombo.Option(name, inputs()) for name, inputs in CHOICES.items()],
                    tooltip="joint_cfg strengthens the prompt and the agreement of picture and sound together.",
                ),
                io.Float.Input(
                    "a_to_v", **STRENGTH, tooltip="How much the picture follows the sound. 1 as trained, 0 not at all."
                ),
                io.Float.Input(
                    "v_to_a", **STRENGTH, tooltip="How much the sound follows the picture. 1 as trained, 0 not at all."
                ),
            ],
            outputs=[GuidanceSocket.Output(display_name="guidance", tooltip="To the sampler.")],
        )

    @classmethod
    def execute(cls, guidance: dict, a_to_v: float, v_to_a: float) -> io.NodeOutput:
        settings = dict(guidance)
        strategy = make_guidance(settings.pop("guidance"), **settings, a_to_v=a_to_v, v_to_a=v_to_a)
        rows = rows_of(strategy.branches(Step(0, 1, 1.0, 1.0)))
        line = f"{strategy.name}: {rows} {'branch' if rows == 1 else 'branches'} a step"
        return io.NodeOutput(strategy, ui=report(line, guidance=strategy.name, branches_per_step=rows))


def _scales(video: float, audio: float) -> list:
    return [
        io.Float.Input("video_scale", default=video, **SCALE, tooltip="Strength for the picture. 1 is no guidance."),
        io.Float.Input("audio_scale", default=audio, **SCALE, tooltip="Strength for the sound. 1 is no guidance."),
    ]


def _cross_scales(video: float, audio: float) -> list:
    tip = "How strongly the {} is made to agree with the {}. 1 is no guidance."
    return [
        io.Float.Input("video_cross_scale", default=video, **SCALE, tooltip=tip.format("picture", "sound")),
        io.Float.Input("audio_cross_scale", default=audio, **SCALE, tooltip=tip.format("sound", "picture")),
    ]


# The first is what a new node starts with.
CHOICES = {
    "joint_cfg": lambda: _scales(2.5, 2.5),
    "joint_cfg_star": lambda: _scales(2.5, 2.5),
    "cfg": lambda: _scales(2.5, 2.5),
    "dual_cfg": lambda: [*_scales(2.5, 2.5), *_cross_scales(2.5, 2.5)],
    "none": lambda: [],
}
