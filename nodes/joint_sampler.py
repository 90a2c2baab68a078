"""The joint sampler: a picture and its sound, denoised together."""

from __future__ import annotations

from dataclasses import replace

from ..av_models.contract import AVLatent
from .host import check_interrupt, io, on_device, report_progress, report_text, wants_previews
from .types import (
    CATEGORY,
    KEPT_ON,
    GuidanceSocket,
    JointModelSocket,
    PromptsSocket,
    clip_shape,
    known_parts,
    latent_dict,
    report,
    unpack_latent,
)

MAX_SEED = 0xFFFF_FFFF_FFFF_FFFF


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
                _seed("video_seed", "Chance in the picture. Keep it and change the other to keep the start of the picture."),
                _seed("audio_seed", "Chance in the sound. Change it alone for another sound."),
                io.Int.Input(
                    "steps", default=20, min=1, max=1000, tooltip="More steps are slower and finer; 20 to 50 is usual."
                ),
                io.Float.Input(
                    "shift", default=1.0, min=0.01, max=100.0, step=0.01,
                    tooltip="Above 1 spends more steps on the layout, below 1 more on detail.",
                ),
                io.Boolean.Input(
                    "batch_branches", default=True, tooltip="All branches of a step in one network call: faster, more memory."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="To the decoder."),
                io.String.Output(display_name="report", tooltip="Seeds, steps, and what a step cost."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, prompts, latent, guidance, video_seed: int, audio_seed: int, steps: int, shift: float, batch_branches: bool
    ) -> io.NodeOutput:
        from ..av_models.given import Given
        from ..av_models.sampling import BadModel, sample, sampling_cost  # diffusers: only once something is sampled

        shape = clip_shape(latent, model)
        streams, known = unpack_latent(latent), known_parts(latent)
        strategy, bad, notes = guidance.strategy, guidance.bad_model, []
        if bad is not None:
            clip_shape(latent, bad, "bad_model: latent")
        on_device(model, *([] if bad is None else [bad]))
        if not model.trained:
            strategy = replace(strategy, removed=True)
            notes.append(f"{model.name} is untrained as a pair: picture and sound were made apart")
        cost = sampling_cost(strategy, steps, shift=shift, batch_branches=batch_branches)
        report_text(_cost(cost), cls.hidden.unique_id)
        result = sample(
            model.denoiser,
            model.latent_shape(shape, streams.rows),
            prompts.positive.to(model.device),
            prompts.negative.to(model.device),
            strategy,
            steps=steps,
            video_seed=video_seed,
            audio_seed=audio_seed,
            shift=shift,
            batch_branches=batch_branches,
            bad_model=None if bad is None else BadModel(bad.denoiser, *(bad.encode(*words) for words in prompts.words)),
            given=None if known is None else Given(streams.to(model.device), known.to(model.device), model.given),
            callback=_progress(model),
            check_interrupt=check_interrupt,
        )
        facts = {
            "video_seed": video_seed,
            "audio_seed": audio_seed,
            "steps": result.steps,
            "guidance": strategy.name,
            "branches_per_step": result.branches_per_step,
            "forwards_per_step": result.forwards_per_step,
            "warnings": [*notes, *result.warnings],
        }
        lines = [_summary(facts), *facts["warnings"]]
        return io.NodeOutput(latent_dict(result.latent.to(KEPT_ON), shape), "\n".join(lines), ui=report(*lines, **facts))


def _cost(cost) -> str:
    return f"{cost.branches_per_step:g} branches a step in {cost.forwards_per_step:g} network calls"


def _seed(name: str, tooltip: str):
    return io.Int.Input(name, default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def _progress(model):
    """What reports each step, with a preview now and then where they are wanted."""
    from ..av_models.preview import Previews

    previews = Previews(model) if wants_previews() else None

    def report_step(step: int, steps: int, x0: AVLatent) -> None:
        report_progress(step, steps, previews and previews.of(x0))

    return report_step


def _summary(facts: dict) -> str:
    return (
        f"video seed {facts['video_seed']}, audio seed {facts['audio_seed']}; {facts['steps']} steps of {facts['guidance']}, "
        f"each {facts['branches_per_step']:g} branches in {facts['forwards_per_step']:g} network calls"
    )
