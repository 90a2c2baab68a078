"""The joint sampler: the sampling loop of a joint denoiser, with one diffusers scheduler per modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .aligned_steps import AlignedSteps, Alignment, extra_steps
from .branch_runner import BranchRunner, PromptedModel
from .contract import AVLatent, JointDenoiser
from .denoising import Denoising
from .first_frame import show_first_frame
from .guidance import Cost, Guidance, check_supported, estimate_cost
from .joint.single_stream import skip_known_streams
from .known_parts import KnownParts
from .noise import NoiseSource
from .schedule import SamplingSchedule, make_steps

DEFAULT_SCHEDULE = SamplingSchedule()


@dataclass(frozen=True)
class RunOptions:
    """How a sampling run is executed. The options change the result only by rounding errors.

    batch_branches: run all branches of a step in one network call. If memory runs out, the branches of this step and of
        all later steps run one by one.
    on_step(step, steps, x0): called at each step, counted from 1, with the clean estimates.
    check_interrupt(): called before every network call. It can raise an exception to stop the run.
    """

    batch_branches: bool = True
    on_step: Callable[[int, int, AVLatent], None] | None = None
    check_interrupt: Callable[[], None] | None = None


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True)
class SampleResult:
    """The result of a sampling run.

    latent: the sampled latents.
    branches_per_step: mean number of network rows per sample and step.
    forwards_per_step: mean number of network calls per step.
    warnings: one message per problem, such as NaN in the result.
    """

    latent: AVLatent
    steps: int
    branches_per_step: float
    forwards_per_step: float
    warnings: tuple[str, ...] = ()


def sampling_cost(
    guidance: Guidance,
    schedule: SamplingSchedule = DEFAULT_SCHEDULE,
    *,
    batch_branches: bool = True,
    alignment: Alignment | None = None,
    model: JointDenoiser | None = None,
) -> Cost:
    """Compute the cost of `sample` with these settings without running it, for schedulers with one evaluation per step.

    model: the denoiser, whose rows are counted; None: one that mixes full and cut rows for directional strengths.
    """
    plan = schedule.plan()
    extra = extra_steps(plan, alignment) if alignment else ()
    return replace(estimate_cost(_apply_parity(guidance, schedule), [*plan, *extra], batch_branches, model), steps=len(plan))


@torch.no_grad()
def sample(
    model: PromptedModel,
    noise: NoiseSource,
    guidance: Guidance,
    schedule: SamplingSchedule = DEFAULT_SCHEDULE,
    *,
    bad_model: PromptedModel | None = None,
    known: KnownParts | None = None,
    alignment: Alignment | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
) -> SampleResult:
    """Denoise a video and its audio together.

    model: the denoiser and its prompts, on the device to run on.
    noise: the latents' shape and both seeds.
    guidance: the guidance strategy, which lists the branches of a step and combines their predictions.
    schedule: the number of steps, their times and the solvers.
    bad_model: a weaker version of the model with its own prompts, for strategies that need one (autoguidance).
    known: parts of the clip to keep; they are returned unchanged. If a modality is known completely and the joint
        parameters are removed, its network does not run.
    alignment: moves the latents after each step towards a better match of video and audio (from `Aligner.begin`).

    Raises ValueError, with one line, for numbers out of range, schedulers that cannot use the same time grid, and a guidance
    that the model does not support.
    """
    guidance = _apply_parity(guidance, schedule)
    video, audio = schedule.clocks(model.denoiser.paths, noise, getattr(model.denoiser, "policy", None))
    plan = make_steps(video.times, audio.times)
    models = _collect_models(model, bad_model)
    check_supported(guidance, plan, {name: each.denoiser for name, each in models.items()})
    initial = noise.initial(model.positive.video.tokens.device)
    known = known or KnownParts.nothing(initial)
    known.require_fits(initial, model.denoiser.paths)
    models, known = show_first_frame(models, known)
    if guidance.removed:
        models = {name: replace(each, denoiser=skip_known_streams(each.denoiser, known)) for name, each in models.items()}
    network = BranchRunner(models, initial.rows, options.batch_branches, options.check_interrupt)
    denoising = Denoising(guidance, network, video, audio, known, initial, noise, schedule.eta)
    aligned = alignment and AlignedSteps(alignment, denoising, plan, models["main"].positive.expand(initial.rows))

    latent, guidance_state = denoising.start(), None
    for step in plan:
        latent = denoising.with_known(step, latent)
        if aligned:
            aligned.before_step(step, latent, guidance_state)
        predicted = denoising.predict(step, latent, guidance_state)
        if options.on_step:
            options.on_step(step.index + 1, step.count, denoising.clean(predicted))
        latent, guidance_state = denoising.advance(predicted, latent), predicted.guidance_state
        if aligned:
            latent = aligned.after_step(predicted, latent)
    latent = known.restore(latent)

    cost = Cost(len(plan), network.branches, network.forwards)
    warnings = (*network.warnings, *_warnings(latent, alignment))
    return SampleResult(latent, len(plan), cost.branches_per_step, cost.forwards_per_step, warnings)


def _apply_parity(guidance: Guidance, schedule: SamplingSchedule) -> Guidance:
    """Remove the joint parameters from every branch in parity mode."""
    return replace(guidance, removed=guidance.removed or schedule.parity)


def _collect_models(model: PromptedModel, bad_model: PromptedModel | None) -> dict[str, PromptedModel]:
    if bad_model is None:
        return {"main": model}
    if bad_model.denoiser.paths != model.denoiser.paths:
        raise ValueError("bad_model was trained with another noise schedule; use a weaker version of the same model")
    if getattr(bad_model.denoiser, "policy", None) is not None:
        raise ValueError("bad_model is distilled, so that its predictions are of another kind; use a version that is not")
    return {"main": model, "bad": bad_model}


def broken_streams(latent: AVLatent, remedy: str = "the guidance scale") -> list[str]:
    """Return a warning for each stream that is not finite. remedy: what to lower."""
    parts = {"video": latent.video, "audio": latent.audio}
    return [
        f"the {name} came out with NaN or infinite values; lower {remedy}"
        for name, x in parts.items()
        if not bool(torch.isfinite(x).all())
    ]


def _warnings(latent: AVLatent, alignment: Alignment | None) -> list[str]:
    lines = broken_streams(latent, "the guidance scale, or the aligner's rates" if alignment else "the guidance scale")
    if alignment and alignment.skipped:
        lines.append(f"{alignment.skipped} of the aligner's moves had NaN in their gradient and were skipped; lower its rates")
    return lines
