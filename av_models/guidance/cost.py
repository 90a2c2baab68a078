"""What a guidance costs, known before anything runs, and whether a model can do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..contract import CouplingKind, JointDenoiser
from .base import Branch, Guidance
from .modifiers import in_interval
from .step import Step


@dataclass(frozen=True)
class Cost:
    """What a whole run costs: `branches` network rows per sample and `forwards` network calls over `steps` steps."""

    steps: int
    branches: int
    forwards: int

    @property
    def branches_per_step(self) -> float:
        return _mean(self.branches, self.steps)

    @property
    def forwards_per_step(self) -> float:
        return _mean(self.forwards, self.steps)


def _mean(total: int, count: int) -> float:
    return total // count if total % count == 0 else total / count


def cost_of(guidance: Guidance, steps: Sequence[Step], batched: bool) -> Cost:
    """The cost of `guidance` before anything runs. `batched`: one call per model and step, not one per branch."""
    asked = [guidance.branches(step) for step in steps]
    rows = sum(rows_of(branches) for branches in asked)
    calls = sum(len({b.model for b in branches}) if batched else len(branches) for branches in asked)
    return Cost(len(asked), rows, calls)


def rows_of(branches: Iterable[Branch]) -> int:
    """Network rows per sample: one a branch, two where a directional coupling mixes full and cut."""
    return sum(len(branch.coupling.kinds) for branch in branches)


def require_able(guidance: Guidance, steps: Sequence[Step], models: Mapping[str, JointDenoiser]) -> None:
    """Raises ValueError where `guidance` needs what `models` ("main", "bad") cannot do, or would never apply."""
    asked = {branch for step in steps for branch in guidance.branches(step)}
    if any(branch.model not in models for branch in asked):
        raise ValueError(f"guidance {guidance.name} needs a second, weaker model; give one as bad_model")
    for name, model in models.items():
        own = [branch for branch in asked if branch.model == name]
        _require_kinds(guidance, {kind for branch in own for kind in branch.coupling.kinds}, model)
        _require_blocks(guidance, {branch.skip_block for branch in own} - {None}, model)
    _require_interval(guidance, steps)


def _require_kinds(guidance: Guidance, needed: set[CouplingKind], model: JointDenoiser) -> None:
    missing = _names(needed - set(model.kinds))
    if missing:
        raise ValueError(
            f"guidance {guidance.name} needs coupling {missing}, which this model cannot do; "
            f"choose a guidance that does with {_names(model.kinds)}"
        )


def _require_blocks(guidance: Guidance, needed: set, model: JointDenoiser) -> None:
    for block in needed:
        if not model.skippable:
            raise ValueError(f"guidance {guidance.name} skips a block, which this model cannot do; choose another guidance")
        if block not in range(model.skippable):
            raise ValueError(f"skip_block is {block}; this model has blocks 0 to {model.skippable - 1}")


def _require_interval(guidance: Guidance, steps: Sequence[Step]) -> None:
    low, high = guidance.interval_low, guidance.interval_high
    times = [t for step in steps for t in (step.t_video, step.t_audio)]
    if not any(in_interval(guidance, t) for t in times):
        raise ValueError(f"the guidance interval {low:g} to {high:g} never applies: this run's times go from "
                         f"{max(times):.3g} to {min(times):.3g}; widen it")  # fmt: skip


def _names(kinds: Iterable[CouplingKind]) -> str:
    return ", ".join(kind.value for kind in CouplingKind if kind in kinds)
