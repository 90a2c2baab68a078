"""Runs the branches of a guidance strategy as passes: network calls with one coupling, each for one or two prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ...av_models.contract import AVLatent, CouplingKind, Prediction, combine_couplings
from ...av_models.guidance import Branch, Guidance, PromptKind, Step
from ...av_models.guidance.base import NEGATIVE, POSITIVE
from ...av_models.parameterization import convert

MIN_SIGMA = 1e-6  # the smallest σ for which a velocity is defined


@dataclass(frozen=True)
class Pass:
    """One network call: the model ("main" or "bad"), the coupling of its streams, and the block to skip, if any."""

    model: str = "main"
    kind: CouplingKind = CouplingKind.FULL
    skip_block: int | None = None


def passes_of(branch: Branch) -> list[Pass]:
    """Returns the passes whose predictions make that of a branch."""
    return [Pass(branch.model, kind, branch.skip_block) for kind in branch.coupling.kinds]


def own_negative(strategy: Guidance, step: Step) -> Branch:
    """Returns the branch that a strategy guides away from, also where its scales are 1: the negative of CFG++ samplers."""
    guided = replace(strategy.at_step(step), **dict.fromkeys(strategy.scales, 2.0))
    prompt = guided.apply_coupling(POSITIVE)
    others = [branch for branch in guided.formula_branches(step) if branch != prompt]
    return others[0] if others else guided.apply_coupling(NEGATIVE)


def collect_passes(branches: Iterable[Branch]) -> dict[Pass, list[PromptKind]]:
    """Returns the passes that `branches` need, in order, and the prompts to run in each."""
    passes: dict[Pass, list[PromptKind]] = {}
    for branch in branches:
        for one in passes_of(branch):
            texts = passes.setdefault(one, [])
            if branch.video not in texts:
                texts.append(branch.video)
    return passes


def count_calls(branches: Iterable[Branch], calls: Callable[[Sequence[PromptKind]], int]) -> int:
    """Returns the number of network calls that `branches` need. calls: returns that of one pass with these prompts."""
    return sum(calls(texts) for texts in collect_passes(branches).values())


def predict_branches(
    branches: Sequence[Branch], run: Callable[[Pass, Sequence[PromptKind]], Sequence[AVLatent]]
) -> dict[Branch, AVLatent]:
    """Returns the prediction of every branch. Directional coupling strengths mix the predictions of two passes.

    run: returns one prediction for each prompt of a pass.
    Raises ValueError if a branch has different prompts for video and audio: native models read one text for both.
    """
    for branch in branches:
        if branch.video != branch.audio:
            raise ValueError(
                "this guidance uses different prompts for video and audio, which a native model cannot do; choose another"
            )
    found = {(one, text): made for one, texts in collect_passes(branches).items() for text, made in zip(texts, run(one, texts))}

    def predictions(branch: Branch) -> list[AVLatent]:
        return [found[one, branch.video] for one in passes_of(branch)]

    return {
        branch: combine_couplings(predictions(branch), branch.coupling)
        for branch in branches
    }  # fmt: skip


def plan_steps(sigmas: Sequence[float], audio_time: Callable[[float], float], highest: float) -> list[Step]:
    """Returns the steps of a run over `sigmas`; the last σ is the end of the run.

    audio_time: converts the video's σ to the audio's.
    A run that does not start at `highest` or end at 0 is part of a longer run. Its steps are numbered as part of that run, whose
    other steps are assumed to have the same size.
    """
    times = list(sigmas[:-1])
    if not times:
        return []
    first, last = sigmas[0], sigmas[-1]
    step_size = abs(first - last) / len(times) or 1.0
    before, after = (ceil(max(0.0, rest) / step_size - 0.01) for rest in (highest - first, last))
    count = before + len(times) + after
    return [Step(before + i, count, max(t, MIN_SIGMA), audio_time(max(t, MIN_SIGMA))) for i, t in enumerate(times)]


def find_step(sigma: float, plan: Sequence[Step], audio_time: Callable[[float], float]) -> Step:
    """Returns the step that contains `sigma`, at this `sigma`: samplers of higher order also evaluate between two steps."""
    started = sum(step.t_video >= sigma - 1e-6 for step in plan)
    return replace(plan[max(0, started - 1)], t_video=sigma, t_audio=audio_time(sigma))


def convert_streams(latent: AVLatent, x: AVLatent, sigmas: tuple[float, float], source: Prediction, target: Prediction) -> AVLatent:
    """Converts predictions at the noisy latents `x` from kind `source` to kind `target`. sigmas: of the video and the audio."""
    parts = zip((latent.video, latent.audio), (x.video, x.audio), sigmas)
    return AVLatent(*(convert(part, state, 1 - sigma, sigma, source, target) for part, state, sigma in parts))
