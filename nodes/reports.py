"""Reports: the text that a node shows under its inputs after it has run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..av_models.guidance import Guidance, Step, count_rows

GUIDED = 2.0  # a scale with which a guidance uses all of its branches


def report(*lines: str, warnings: Sequence[str] = (), table: Mapping[str, Any] | None = None, **facts: Any) -> dict[str, list]:
    """Returns the UI output of a node: `lines` and `warnings` of text for the user, `facts` for programs.

    table: the table that the first lines show as text, {"head": [...], "rows": [[...]], "lines": how many lines}.
    """
    shown = facts | {"warnings": list(warnings)} | ({} if table is None else {"table": dict(table)})
    return {"text": [*lines, *warnings], "duet": [shown]}


def guidance_report(strategy: Guidance, open_scales: Collection[str] = ()) -> dict[str, list]:
    """Returns the report of a guidance: the branches of one step, when neither the steps nor the model are known yet.

    open_scales: the scales that the sampled model decides. Some may turn branches off, so the number is the highest possible.
    """
    strategy = replace(strategy, **dict.fromkeys(open_scales, GUIDED)) if open_scales else strategy
    sampled_steps = [Step(i, 1000, 1 - i / 1000, 1 - i / 1000) for i in range(1000)]
    branches = {count_rows(strategy.branches(step)) for step in sampled_steps}
    line = f"{strategy.name}: {'up to ' if open_scales else ''}{_range(branches, 'branch', 'branches')} per step"
    line += "; scales as the model recommends" if open_scales else ""
    return report(line, guidance=strategy.name, branches_per_step=max(branches))


def cost_line(cost: Any) -> str:
    """Returns the cost of a step. cost: has `branches_per_step` and `forwards_per_step`."""
    calls = cost.forwards_per_step
    return f"{cost.branches_per_step:g} branches per step in {calls:g} network {'call' if calls == 1 else 'calls'}"


def cost_in_words(branches: set[int], calls: set[int]) -> str:
    """Returns such as "1 to 2 branches per step in 1 network call", for what the steps of a run have of each."""
    return f"{_range(branches, 'branch', 'branches')} per step in {_range(calls, 'network call', 'network calls')}"


def _range(counts: set[int], singular: str, plural: str) -> str:
    low, high = min(counts), max(counts)
    return f"{high if low == high else f'{low} to {high}'} {singular if low == high == 1 else plural}"
