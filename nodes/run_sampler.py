"""Code shared by the sampling nodes: their inputs, and the run from a LATENT to a sampled latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..av_models.binders.ensemble import list_binders
from ..av_models.contract import AVCondition, AVLatent, LatentShape
from ..av_models.shapes import AVShape
from .host import check_interrupt, io, report_text, wants_previews
from .latents import clip_shape, known_parts, unpack_latent
from .placement import load_denoiser, load_encoders
from .reports import cost_line
from .sockets import AlignerInput, GuidanceInput, Prompts

if TYPE_CHECKING:
    from ..av_models.branch_runner import PromptedModel
    from ..av_models.schedule import SamplingSchedule

MAX_SEED = 0xFFFF_FFFF_FFFF_FFFF
AS_RECOMMENDED = {"steps": 0, "shift": 0.0, "eta": -1.0}  # values of inputs that stand for what the model recommends


def seed_input(name: str, tooltip: str):
    return io.Int.Input(name, default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def settings_inputs() -> list:
    """Returns the inputs for seeds, steps, noise schedule and batching."""
    return [
        seed_input("video_seed", "Random seed for the video. Keep it and change audio_seed to keep the noise of the video."),
        seed_input("audio_seed", "Random seed for the audio. Change only this seed to get other audio."),
        io.Int.Input(
            "steps", default=AS_RECOMMENDED["steps"], min=0, max=1000,
            tooltip="Number of sampling steps. 0: as the model recommends. More are slower and finer; 20 to 50 is usual.",
        ),
        io.Float.Input(
            "shift", advanced=True, default=AS_RECOMMENDED["shift"], min=0.0, max=100.0, step=0.01,
            tooltip="Shift of the noise schedule. 0: as the model recommends. Above 1 spends more steps on the layout, below 1 "
            "more on detail. 1: no shift.",
        ),
        io.Boolean.Input(
            "batch_branches", advanced=True, default=True,
            tooltip="Runs all guidance branches of a step in one network call: faster, but uses more memory.",
        ),
        io.Float.Input(
            "eta", advanced=True, default=AS_RECOMMENDED["eta"], min=AS_RECOMMENDED["eta"], max=10.0, step=0.1, optional=True,
            tooltip="How much new noise each step adds. -1: as the model recommends. 0: none. 1: as in ancestral samplers. Later "
            "steps can then correct earlier errors, which improves motion and timing. Above 1, clips are more consistent but less "
            "varied.",
        ),
        io.Float.Input(
            "audio_shift", advanced=True, default=0.0, min=0.0, max=100.0, step=0.01, optional=True,
            tooltip="Separate shift for the audio. 0: same as shift. Below shift, the audio is denoised earlier, so that Aligner "
            "can match the video to it. Only for models that were trained separately: joint models expect one timestep for both.",
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The values of `settings_inputs`. audio_shift: 0 means the same as `shift`.

    steps, shift, eta: may be `AS_RECOMMENDED` until `own_settings.resolve_settings`.
    own_times: use the times of the model's own pipeline instead of `shift`.
    """

    video_seed: int
    audio_seed: int
    steps: int
    shift: float
    batch_branches: bool
    eta: float = 0.0  # graphs from before this input
    audio_shift: float = 0.0
    own_times: bool = False

    def make_schedule(self, model, latents: LatentShape) -> SamplingSchedule:
        """Returns the steps and their times, for latents of this shape."""
        from ..av_models.schedule import SamplingSchedule  # imports diffusers: only when the node runs

        if self.own_times:
            return model.make_schedule(latents, self.steps, self.eta)
        return SamplingSchedule(self.steps, self.shift, self.audio_shift or None, self.eta)


def model_warnings(model) -> list[str]:
    """Returns warnings about sampling `model`."""
    return [] if model.trained else [f"{model.name} is untrained as a pair: video and audio were generated independently"]


@torch.inference_mode(False)
def sample_latent(
    model,
    prompts: Prompts,
    latent: dict[str, Any],
    guidance: GuidanceInput,
    settings: Settings,
    node_id: str,
    callback: Callable[[int, int, AVLatent], None],
    aligned: AlignerInput | None = None,
):
    """Samples a LATENT and returns the `SampleResult`. Shows the cost of a step on the node before the first one.

    ComfyUI runs nodes in inference mode. The aligner needs gradients, so it is off here, and tensors from outside are copied.
    """
    from ..av_models.known_parts import KnownParts  # imports diffusers: only when the node runs
    from ..av_models.noise import NoiseSource
    from ..av_models.sampling import RunOptions, sample, sampling_cost

    shape = clip_shape(latent, model)
    streams, known = unpack_latent(latent).each(torch.clone), known_parts(latent, model=model)
    guidance.require_duet_model()
    bad = guidance.bad_model
    strategy = model.adapt_guidance(guidance.strategy, bad)
    if bad is not None:
        clip_shape(latent, bad, "bad_model: latent")
    binders = list_binders(aligned.aligner.binder) if aligned else []
    models = [model] if bad is None else [model, bad]
    encoded = [_encode_prompts(prompts, each, shape) for each in models]
    latents = model.latent_shape(shape, streams.rows)
    schedule = settings.make_schedule(model, latents)
    cost_with = partial(sampling_cost, strategy, schedule, batch_branches=settings.batch_branches, model=model.denoiser)
    others = [*models[1:], *binders]
    memory = load_denoiser(model, latents, cost_with(), others, codecs=aligned is not None, previews=wants_previews())
    alignment = aligned and _begin_alignment(aligned, model, shape, prompts, streams.to(model.device), known)
    report_text("; ".join(filter(None, (cost_line(cost_with(alignment=alignment)), memory.line))), node_id)
    prompted = [_prompt(each, shape, conditions) for each, conditions in zip(models, encoded)]
    return sample(
        prompted[0],
        NoiseSource(latents, settings.video_seed, settings.audio_seed),
        strategy,
        schedule,
        bad_model=None if bad is None else prompted[1],
        known=None if known is None else KnownParts(streams.to(model.device), known.to(model.device), *model.known_modes),
        alignment=alignment,
        options=RunOptions(settings.batch_branches, callback, check_interrupt),
    )


def _encode_prompts(prompts: Prompts, model, shape: AVShape) -> list[AVCondition]:
    if not prompts.encoded_by(model):
        load_encoders(model)
    return prompts.conditions(model, shape)


def _prompt(model, shape: AVShape, conditions: list[AVCondition]) -> PromptedModel:
    """Returns the denoiser for clips of `shape`, with its prompts on its device."""
    from ..av_models.branch_runner import PromptedModel  # imports diffusers: only when the node runs

    return PromptedModel(model.denoiser_for(shape), *(each.each(torch.clone).to(model.device) for each in conditions))


def _begin_alignment(aligned: AlignerInput, model, shape: AVShape, prompts: Prompts, streams: AVLatent, known: AVLatent | None):
    """Starts the alignment of one run. Without a reference, it uses the video or audio that the latent keeps completely."""
    reference = aligned.reference
    if known is not None and reference.video is None and bool(known.video.all()):
        frames = model.decode_video_with_grad(streams.video, shape)
        reference = replace(reference, video=frames, fps=float(shape.video.fps), image=frames[:, 0])
    if known is not None and reference.audio is None and bool(known.audio.all()):
        waveform = model.decode_audio_with_grad(streams.audio, shape)
        reference = replace(reference, audio=waveform, sample_rate=shape.audio.sample_rate)
    return aligned.aligner.begin(model, shape, prompts.words[0], reference)
