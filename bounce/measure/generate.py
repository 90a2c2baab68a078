"""Clips from a joint model for a list of prompts: sampled in batches, decoded by the codecs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Prompt:
    """Words, and the `picture` [H, W, 3] that a model which goes by one begins with."""

    video: str
    audio: str
    picture: Tensor | None = None


def generate(
    model: JointModel,
    prompts: Sequence[Prompt],
    guidance: Guidance,
    *,
    on_clip: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames [F, H, W, 3] and waveform [C, samples] of each prompt, in order, of what `sampled` gives with the `settings`."""
    done, shape = 0, model.shape()
    for latent in sampled(model, prompts, guidance, **settings):
        for clip in zip(*model.decode(latent, shape)):
            yield clip
            done += 1
            if on_clip:
                on_clip(done, len(prompts))


def sampled(
    model: JointModel,
    prompts: Sequence[Prompt],
    guidance: Guidance,
    *,
    steps: int,
    shift: float,
    seed: int,
    audio_shift: float | None = None,
    eta: float = 0.0,
    batch: int = 16,
    given: Callable[[int, int], KnownParts] | None = None,
    bad_model: JointModel | None = None,
    alignment: Callable[[int, int], Alignment] | None = None,
) -> Iterator[AVLatent]:
    """Latents of the prompts, `batch` by batch; clip i has seeds seed + i for both.

    `given(start, stop)`: the parts that are known of clips start to stop. `bad_model`: for autoguidance.
    `alignment(start, stop)`: what moves clips start to stop.
    """
    shape = model.shape()
    if bad_model and bad_model.latent_shape(shape) != model.latent_shape(shape):
        raise ValueError(f"{bad_model.name} has latents of another size than {model.name}; give a worse version of it")
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        seeds = [seed + start + i for i in range(len(part))]
        yield sample(
            PromptedModel(model.denoiser, *_texts(model, part)),
            NoiseSource(model.latent_shape(shape, len(part)), seeds, seeds),
            guidance,
            SamplingSchedule(steps, shift, audio_shift, eta),
            bad_model=PromptedModel(bad_model.denoiser, *_texts(bad_model, part)) if bad_model else None,
            known=given(start, start + len(part)) if given else None,
            alignment=alignment(start, start + len(part)) if alignment else None,
        ).latent


def _texts(model: JointModel, prompts: Sequence[Prompt]) -> tuple[AVCondition, AVCondition]:
    """Each prompt, and as many empty ones."""
    positive = AVCondition.cat([model.encode(prompt.video, prompt.audio, prompt.picture) for prompt in prompts])
    return positive, AVCondition.cat([model.encode("", "")] * len(prompts))
