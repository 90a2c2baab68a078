"""The joint sampler: a picture and its sound, denoised together."""

from __future__ import annotations

from dataclasses import asdict

from ..av_models.contract import AVLatent
from .host import io, report_progress, wants_previews
from .run_sampler import Settings, notes_on, sample_latent, settings_inputs
from .types import (
    CATEGORY,
    KEPT_ON,
    AlignerSocket,
    GuidanceSocket,
    JointModelSocket,
    PromptsSocket,
    clip_shape,
    latent_dict,
    report,
)


class DuetJointSampler(io.ComfyNode):
    """One seed for the picture and one for the sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointSampler",
            display_name="Joint Sampler",
            category=CATEGORY,
            description="Makes the picture and its sound together, step by step. The report says what a step cost.",
            search_aliases=["duet", "ksampler", "audio video sampler"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that makes the clip."),
                PromptsSocket.Input("prompts", tooltip="What to make."),
                io.Latent.Input("latent", tooltip="From Empty Picture + Sound, or Encode Picture + Sound."),
                GuidanceSocket.Input("guidance", tooltip="How strongly to follow the prompts."),
                *settings_inputs(),
                AlignerSocket.Input("aligner", optional=True, tooltip="Makes picture and sound agree that the model makes apart."),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="To the decoder."),
                io.String.Output(display_name="report", tooltip="Seeds, steps, and what a step cost."),
            ],
        )

    @classmethod
    def execute(cls, model, prompts, latent, guidance, aligner=None, **settings) -> io.NodeOutput:
        settings = Settings(**settings)
        result = sample_latent(model, prompts, latent, guidance, settings, cls.hidden.unique_id, _progress(model), aligner)
        facts = asdict(settings) | {
            "guidance": guidance.strategy.name,
            "branches_per_step": result.branches_per_step,
            "forwards_per_step": result.forwards_per_step,
            "warnings": [*notes_on(model), *result.warnings],
        }
        lines = [_summary(facts), *facts["warnings"]]
        made = latent_dict(result.latent.to(KEPT_ON), clip_shape(latent, model))
        return io.NodeOutput(made, "\n".join(lines), ui=report(*lines, **facts))


def _progress(model):
    """What reports each step, with a preview now and then where they are wanted."""
    from ..av_models.preview import Previews

    previews = Previews(model) if wants_previews() else None

    def report_step(step: int, steps: int, x0: AVLatent) -> None:
        report_progress(step, steps, previews and previews.of(x0))

    return report_step


def _summary(facts: dict) -> str:
    eta = f", eta {facts['eta']:g}" if facts["eta"] else ""
    ahead = f", the sound's shift {facts['audio_shift']:g}" if facts["audio_shift"] else ""
    return (
        f"video seed {facts['video_seed']}, audio seed {facts['audio_seed']}; {facts['steps']} steps of {facts['guidance']}{eta}{ahead}, "
        f"each {facts['branches_per_step']:g} branches in {facts['forwards_per_step']:g} network calls"
    )
