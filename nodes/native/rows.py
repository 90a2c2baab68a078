"""The rows of network calls that make the branches of a guidance strategy, and the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from ...av_models.contract import CUT, AVLatent, Coupling, CouplingKind, Prediction, combine_couplings
from ...av_models.guidance import Branch, Guidance, PromptKind, Step
from ...av_models.guidance.base import NEGATIVE, POSITIVE
from ...av_models.parameterization import convert

if TYPE_CHECKING:
    from .adapters.base import NativeModel

MIN_SIGMA = 1e-6  # the smallest σ for which a velocity is defined
Apart = Mapping[str, Sequence[str]]
TEXTS: tuple[PromptKind, ...] = ("positive", "negative")  # in ComfyUI's order: other nodes tell the prompts apart by their places


def rows_of(branch: Branch, model: NativeModel) -> list[Branch]:
    """Returns the network rows whose predictions make that of a branch, as branches that need one row each.

    A model with `one_call` scales its cross-modal layers in one row. For others a fractional coupling is mixed of two rows.
    """
    if not model.one_call:
        return [replace(branch, coupling=Coupling(kind)) for kind in branch.coupling.kinds]
    return [branch if CouplingKind.FULL in branch.coupling.kinds else replace(branch, coupling=CUT)]


def group_rows(branches: Iterable[Branch], models: Mapping[str, NativeModel], apart: Apart = {}) -> list[list[Branch]]:
    """Returns the rows that `branches` need, each once, in one group for each network call.

    apart: for each model ("main", "bad"), the fields of `Branch` in which the rows of one call must agree.
    """
    groups: dict[tuple, list[Branch]] = {}
    for branch in branches:
        for row in rows_of(branch, models[branch.model]):
            key = (row.model, *(getattr(row, field) for field in apart.get(row.model, ())))
            group = groups.setdefault(key, [])
            if row not in group:
                group.append(row)
    return list(groups.values())


def place_rows(rows: Sequence[Branch]) -> list[Branch | None]:
    """Returns the rows of a call in ComfyUI's order: one with the positive prompt, one with the negative (or None), the others.

    Cut rows come last: rows that stand together need not be copied where cut ones run apart.
    """
    firsts = [next((row for row in rows if row.video == text), None) for text in TEXTS]
    others = (row for row in rows if row not in firsts)
    return [*firsts, *sorted(others, key=lambda row: row.coupling.kind is not CouplingKind.FULL)]


def predict_branches(
    branches: Sequence[Branch],
    models: Mapping[str, NativeModel],
    run: Callable[[Sequence[Branch]], Mapping[Branch, AVLatent]],
    apart: Apart = {},
) -> dict[Branch, AVLatent]:
    """Returns the prediction of every branch. run: returns the prediction of each row of a network call."""
    found: dict[Branch, AVLatent] = {}
    for group in group_rows(branches, models, apart):
        found |= run(group)

    def predictions(branch: Branch) -> list[AVLatent]:
        return [found[row] for row in rows_of(branch, models[branch.model])]

    return {
        branch: combine_couplings(predictions(branch), branch.coupling)
        for branch in branches
    }  # fmt: skip


def own_negative(strategy: Guidance, step: Step) -> Branch:
    """Returns the branch that a strategy guides away from, also where its scales are 1: the negative of CFG++ samplers."""
    guided = replace(strategy.at_step(step), **dict.fromkeys(strategy.scales, 2.0))
    prompt = guided.apply_coupling(POSITIVE)
    others = [branch for branch in guided.formula_branches(step) if branch != prompt]
    return others[0] if others else guided.apply_coupling(NEGATIVE)


def plan_steps(sigmas: Sequence[float], times: Callable[[float], tuple[float, float]], highest: float) -> list[Step]:
    """Returns the steps of a run over `sigmas`; the last σ is the end of the run.

    times: returns the times of video and audio at a σ of the sampler.
    A run that does not start at `highest` or end at 0 is part of a longer run. Its steps are numbered as part of that run, whose
    other steps are assumed to have the same size.
    """
    if len(sigmas) < 2:
        return []
    steps = [times(max(sigma, MIN_SIGMA)) for sigma in sigmas[:-1]]
    first, last, top = (times(sigma)[0] if sigma > 0 else 0.0 for sigma in (sigmas[0], sigmas[-1], highest))
    step_size = abs(first - last) / len(steps) or 1.0
    before, after = (ceil(max(0.0, rest) / step_size - 0.01) for rest in (top - first, last))
    count = before + len(steps) + after
    return [Step(before + i, count, *each) for i, each in enumerate(steps)]


def find_step(times: tuple[float, float], plan: Sequence[Step]) -> Step:
    """Returns the step in which these times of video and audio lie: samplers of higher order also evaluate between two steps."""
    t_video, t_audio = times
    started = sum(step.t_video >= t_video - 1e-6 for step in plan)
    return replace(plan[max(0, started - 1)], t_video=t_video, t_audio=t_audio)


def convert_streams(latent: AVLatent, x: AVLatent, times: tuple[float, float], source: Prediction, target: Prediction) -> AVLatent:
    """Converts predictions at the noisy latents `x` from kind `source` to kind `target`. times: of the video and the audio."""
    parts = zip((latent.video, latent.audio), (x.video, x.audio), times)
    return AVLatent(*(convert(part, state, 1 - t, t, source, target) for part, state, t in parts))
