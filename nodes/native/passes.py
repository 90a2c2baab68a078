"""What branches of a guidance strategy are to a host that runs prompts: passes of a model under one coupling each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ...av_models.contract import AVLatent, CouplingKind, Prediction, mixed
from ...av_models.guidance import Branch, Step, Text
from ...av_models.parameterization import convert

LEAST = 1e-6  # σ at which there is still a velocity


@dataclass(frozen=True)
class Pass:
    """One call of a network: which model, how its streams are coupled, and the block it does without."""

    model: str = "main"
    kind: CouplingKind = CouplingKind.FULL
    skip_block: int | None = None


def passes_of(branches: Iterable[Branch]) -> dict[Pass, list[Text]]:
    """The passes that `branches` need, in order, each with the prompts that it is run for, together."""
    asked: dict[Pass, list[Text]] = {}
    for branch in branches:
        for kind in branch.coupling.kinds:
            texts = asked.setdefault(Pass(branch.model, kind, branch.skip_block), [])
            if branch.video not in texts:
                texts.append(branch.video)
    return asked


def predictions_of(branches: Sequence[Branch], run: Callable[[Pass, Sequence[Text]], Sequence[AVLatent]]) -> dict[Branch, AVLatent]:
    """Every branch's prediction. `run` gives one for each prompt of a pass; directional strengths mix two passes.

    Raises ValueError where a branch has one prompt for the picture and another for the sound: a native model reads both
    from one text.
    """
    for branch in branches:
        if branch.video != branch.audio:
            raise ValueError(
                "this guidance uses different prompts for picture and sound, which a native model cannot do; choose another"
            )
    found = {(one, text): made for one, texts in passes_of(branches).items() for text, made in zip(texts, run(one, texts))}
    return {
        branch: mixed([found[Pass(branch.model, kind, branch.skip_block), branch.video] for kind in branch.coupling.kinds],
                      branch.coupling)
        for branch in branches
    }  # fmt: skip


def plan_of(sigmas: Sequence[float], audio_time: Callable[[float], float], highest: float) -> list[Step]:
    """The steps of a run over `sigmas`, the last of which is where it ends. `audio_time`: the sound's time at the picture's.

    A run that does not begin at the `highest`, or does not end at 0, is part of a longer one: its steps are counted as if that
    went on at the same pace.
    """
    times = list(sigmas[:-1])
    if not times:
        return []
    first, last = sigmas[0], sigmas[-1]
    pace = abs(first - last) / len(times) or 1.0
    before, after = (ceil(max(0.0, left) / pace - 0.01) for left in (highest - first, last))
    return [Step(before + i, before + len(times) + after, max(t, LEAST), audio_time(max(t, LEAST))) for i, t in enumerate(times)]


def step_at(sigma: float, plan: Sequence[Step], audio_time: Callable[[float], float]) -> Step:
    """The step that `sigma` lies in: samplers of higher order also ask between two of them."""
    begun = sum(step.t_video >= sigma - 1e-6 for step in plan)
    return replace(plan[max(0, begun - 1)], t_video=sigma, t_audio=audio_time(sigma))


def converted(latent: AVLatent, x: AVLatent, sigmas: tuple[float, float], source: Prediction, target: Prediction) -> AVLatent:
    """Predictions of kind `source` at the states `x` as kind `target`; `sigmas` is that of the picture and that of the sound."""
    parts = zip((latent.video, latent.audio), (x.video, x.audio), sigmas)
    return AVLatent(*(convert(part, state, 1 - sigma, sigma, source, target) for part, state, sigma in parts))
