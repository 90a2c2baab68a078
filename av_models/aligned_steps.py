"""Runs an aligner in the sampling loop: prompts are tuned before a step, latents are moved after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .contract import AVCondition, AVLatent
from .denoising import Denoising, GuidedPrediction
from .guidance import Step


class Alignment(Protocol):
    """The interface between the sampler and the alignment of a clip (`alignment.Alignment`).

    skipped: number of moves that were skipped because their gradient had NaN.
    through_denoiser: compute the clean estimate by a new prediction, with its gradient, instead of from constant noise.
    inner_steps: number of moves after each step.
    steps_ahead: number of further sampling steps that lead to the clean estimate.
    """

    skipped: int
    through_denoiser: bool
    inner_steps: int
    steps_ahead: int

    def moves_latents(self, step: Step) -> bool:
        """Return whether latents are moved after this step."""
        ...

    def tunes_prompts(self, step: Step) -> bool:
        """Return whether prompts are tuned before this step."""
        ...

    def move_latents(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent:
        """Return the moved latents. clean: computes the clean estimate of a state."""
        ...

    def tune_prompts(self, cond: AVCondition, clean: Callable[[AVCondition], AVLatent]) -> AVCondition:
        """Return the tuned prompts. clean: computes the clean estimate with a prompt."""
        ...


class AlignedSteps:
    """Runs an alignment inside one sampling run. plan: all steps of the run. positive: the prompts, one row per clip."""

    def __init__(self, alignment: Alignment, denoising: Denoising, plan: Sequence[Step], positive: AVCondition) -> None:
        self.alignment, self.denoising, self.plan, self.positive = alignment, denoising, plan, positive

    def before_step(self, step: Step, latent: AVLatent, guidance_state: Any) -> None:
        """Tune the prompts (Seeing and Hearing, arXiv 2402.17723, eq. 8). Later steps use the tuned prompts."""
        if not self.alignment.tunes_prompts(step):
            return
        steps, network = steps_to_clean(self.plan, step, self.alignment), self.denoising.network

        def clean(prompt: AVCondition) -> AVLatent:
            network.set_positive(prompt)
            return self.denoising.clean_after_steps(steps, guidance_state, latent)

        self.positive = self.alignment.tune_prompts(self.positive, clean)
        network.set_positive(self.positive)

    def after_step(self, p: GuidedPrediction, latent: AVLatent) -> AVLatent:
        """Return the states after the step, moved by the alignment."""
        if not self.alignment.moves_latents(p.step):
            return latent
        following = self.plan[p.step.index + 1 : p.step.index + 2]
        if following and self.alignment.through_denoiser:
            steps = steps_to_clean(self.plan, following[0], self.alignment)
            return self.alignment.move_latents(latent, lambda x: self.denoising.clean_after_steps(steps, p.guidance_state, x))
        return self.alignment.move_latents(latent, self.denoising.clean_with_fixed_noise(p))


def steps_to_clean(plan: Sequence[Step], step: Step, alignment: Alignment) -> list[Step]:
    """Return `step` and up to `steps_ahead` evenly spaced later steps, which lead from it to a clean estimate."""
    rest = plan[step.index + 1 :]
    count = min(alignment.steps_ahead, len(rest))
    return [step, *(rest[round((i + 1) * len(rest) / (count + 1)) - 1] for i in range(count))]


def extra_steps(plan: Sequence[Step], alignment: Alignment) -> Iterator[Step]:
    """Yield the steps at which an alignment runs the network in addition to those of the plan."""
    for step in plan:
        if alignment.tunes_prompts(step):
            yield from steps_to_clean(plan, step, alignment)
        if alignment.moves_latents(step) and alignment.through_denoiser and step.index + 1 < len(plan):
            yield from steps_to_clean(plan, plan[step.index + 1], alignment) * alignment.inner_steps
