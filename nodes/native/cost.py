"""What a step costs on a native model, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...av_models.guidance import Branch, Guidance, Step
from .input_checks import check_negative
from .models import native_model
from .rows import group_rows


def count_rows_and_calls(
    model: ModelPatcher, strategy: Guidance, prompts: Mapping[str, Sequence[Mapping[str, Any]]], steps: int = 1000
) -> tuple[set[int], set[int]]:
    """Returns the numbers of network rows and of calls that the steps of a whole run have, if memory is not short.

    prompts: the entries of the conditionings "positive" and "negative".
    Raises ValueError if the strategy needs a negative and there is none.
    """
    adapter, options = native_model(model), model.model_options["transformer_options"]
    name, strategy = strategy.name, adapter.simplify(strategy)
    models = {"main": adapter, "bad": adapter}
    apart = dict.fromkeys(models, adapter.apart_by(model)[0])
    times = [adapter.times(adapter.sigma_at((steps - i) / steps), options) for i in range(steps)]
    planned = {tuple(strategy.branches(Step(i, steps, *each))) for i, each in enumerate(times)}
    check_negative(name, {branch for each in planned for branch in each}, prompts)

    groups = [group_rows(branches, models, apart) for branches in planned]

    def calls(group: Sequence[Branch]) -> int:
        return adapter.count_calls([entry for row in group for entry in prompts.get(row.video, ())])

    return {sum(map(len, each)) for each in groups}, {sum(map(calls, each)) for each in groups}
