"""Generates clips with a joint model for a list of prompts, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...av_models.aligned_steps import Alignment
from ...av_models.branch_runner import PromptedModel
from ...av_models.contract import AVCondition, AVLatent
from ...av_models.guidance import Guidance
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.noise import NoiseSource
from ...av_models.sampling import sample
from ...av_models.schedule import SamplingSchedule

BATCH = 16


@dataclass(frozen=True)
class Prompt:
    """A prompt: the text for the video and the audio, or the `picture` [H, W, 3] for an image-to-video model."""

    video: str
    audio: str
    picture: Tensor | None = None


@dataclass(frozen=True)
class SampleInputs:
    """Optional inputs of the sampler.

    known: called with (start, stop), returns the known parts of those clips.
    alignment: called with (start, stop), returns the alignment of those clips.
    bad_model: the second model of autoguidance.
    """

    known: Callable[[int, int], KnownParts] | None = None
    alignment: Callable[[int, int], Alignment] | None = None
    bad_model: JointModel | None = None


def generate(
    model: JointModel,
    prompts: Sequence[Prompt],
    guidance: Guidance,
    schedule: SamplingSchedule,
    *,
    seed: int,
    batch: int = BATCH,
    inputs: SampleInputs = SampleInputs(),
    on_clip: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields frames [F, H, W, 3] in 0..1 and a waveform [C, samples] for each prompt, in order.

    seed, batch, errors: as for `sample_latents`. on_clip: called with (done, total) after each clip.
    """
    done, shape = 0, model.shape()
    for latent in sample_latents(model, prompts, guidance, schedule, seed=seed, batch=batch, inputs=inputs):
        for clip in zip(*model.decode(latent, shape)):
            yield clip
            done += 1
            if on_clip:
                on_clip(done, len(prompts))


def sample_latents(
    model: JointModel,
    prompts: Sequence[Prompt],
    guidance: Guidance,
    schedule: SamplingSchedule,
    *,
    seed: int,
    batch: int = BATCH,
    inputs: SampleInputs = SampleInputs(),
) -> Iterator[AVLatent]:
    """Yields the latents of the prompts, one batch at a time.

    seed: random seed of the first clip. Clip i uses seed + i for both the video and the audio. batch: clips per batch.
    Raises ValueError if the latents of `inputs.bad_model` have another size, and as `av_models.sampling.sample`.
    """
    bad_model, shape = inputs.bad_model, model.shape()
    if bad_model and bad_model.latent_shape(shape) != model.latent_shape(shape):
        raise ValueError(f"the latents of {bad_model.name} and {model.name} differ in size; use a worse version of {model.name}")
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        stop = start + len(part)
        seeds = [seed + i for i in range(start, stop)]
        yield sample(
            _with_prompts(model, part),
            NoiseSource(model.latent_shape(shape, len(part)), seeds, seeds),
            guidance,
            schedule,
            bad_model=_with_prompts(bad_model, part) if bad_model else None,
            known=inputs.known(start, stop) if inputs.known else None,
            alignment=inputs.alignment(start, stop) if inputs.alignment else None,
        ).latent


def _with_prompts(model: JointModel, prompts: Sequence[Prompt]) -> PromptedModel:
    """Encodes the prompts, and an empty negative prompt for each."""
    positive = AVCondition.cat([model.encode(prompt.video, prompt.audio, prompt.picture) for prompt in prompts])
    return PromptedModel(model.denoiser, positive, AVCondition.cat([model.encode("", "")] * len(prompts)))
