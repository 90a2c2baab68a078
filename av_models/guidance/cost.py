"""The cost of a guidance strategy, computed before anything runs, and the check that a model supports the strategy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..contract import CouplingKind, JointDenoiser, scales_in_one_row
from .base import NO_BLOCK, OWN_BLOCK, Branch, Guidance
from .modifiers import in_interval
from .step import Step

USUAL_BLOCK = 3


@dataclass(frozen=True)
class Cost:
    """The cost of a whole run.

    steps: number of sampling steps.
    branches: total network rows per sample. A row is one latent in the batch of a network call.
    forwards: total network calls.
    """

    steps: int
    branches: int
    forwards: int

    @property
    def branches_per_step(self) -> float:
        """Mean number of network rows per sample and step; an int where the mean is whole."""
        return _mean(self.branches, self.steps)

    @property
    def forwards_per_step(self) -> float:
        """Mean number of network calls per step; an int where the mean is whole."""
        return _mean(self.forwards, self.steps)


def _mean(total: int, count: int) -> float:
    return total // count if total % count == 0 else total / count


def estimate_cost(guidance: Guidance, steps: Sequence[Step], batched: bool, model: JointDenoiser | None = None) -> Cost:
    """Compute the cost of `guidance` over `steps` without running a network.

    batched: all branches of one model share one network call per step; if False, each branch has its own call.
    model: the model that will run; None: one that mixes full and cut rows.
    """
    per_step = [guidance.branches(step) for step in steps]
    rows = sum(count_rows(branches, model) for branches in per_step)
    calls = sum(len({b.model for b in branches}) if batched else len(branches) for branches in per_step)
    return Cost(len(per_step), rows, calls)


def count_rows(branches: Iterable[Branch], model: JointDenoiser | None = None) -> int:
    """Count the network rows per sample: one per branch, two if its directional coupling mixes full and cut rows of `model`."""
    return sum(1 if scales_in_one_row(model) else len(branch.coupling.kinds) for branch in branches)


def check_supported(guidance: Guidance, steps: Sequence[Step], models: Mapping[str, JointDenoiser]) -> None:
    """Check that `models` (by the names "main" and "bad") can run `guidance` at `steps`.

    Raises ValueError if a second model is missing, if a model does not support a coupling or a skipped block, or if no
    step lies in the guidance interval.
    """
    per_step = [guidance.branches(step) for step in steps]
    branches = {branch for each in per_step for branch in each}
    if any(branch.model not in models for branch in branches):
        raise ValueError(f"guidance {guidance.name} needs a second, weaker model; pass one as bad_model")
    _check_refusal(guidance, per_step, models["main"])
    for name, model in models.items():
        own = [branch for branch in branches if branch.model == name]
        _check_coupling(guidance, {kind for branch in own for kind in branch.coupling.kinds}, model)
        _check_skipped_blocks(guidance, {branch.skip_block for branch in own if branch.skip_block is not None}, model)
    _check_interval(guidance, steps)


def resolve_block(block: int | None, model: JointDenoiser) -> int | None:
    """Return the block to skip: `block`, or the model's `own_skip_block` (3 if it has none) for OWN_BLOCK."""
    return getattr(model, "own_skip_block", USUAL_BLOCK) if block == OWN_BLOCK else block


def _check_refusal(guidance: Guidance, per_step: Iterable[Sequence[Branch]], model: JointDenoiser) -> None:
    reason = getattr(model, "refuses_guidance", "")
    if reason and any(len(branches) > 1 or "negative" in (b.video, b.audio) for branches in per_step for b in branches):
        raise ValueError(f"guidance is {guidance.name}, but {reason}; choose none, or scales of 1")
    for stream in ("video", "audio"):
        reason, scales = getattr(getattr(model, stream, None), "refuses_guidance", ""), guidance.scales
        wrong = [name for name, scale in scales.items() if name.startswith(stream) and scale != 1]
        if reason and wrong and any(len(branches) > 1 for branches in per_step):
            raise ValueError(f"{wrong[0]} is {scales[wrong[0]]:g}, but {reason}; use 1")


def _check_coupling(guidance: Guidance, needed: set[CouplingKind], model: JointDenoiser) -> None:
    missing = _names(needed - set(model.kinds))
    if missing:
        raise ValueError(
            f"guidance {guidance.name} needs coupling {missing}, which this model does not support; "
            f"choose a guidance that needs only {_names(model.kinds)}"
        )


def _check_skipped_blocks(guidance: Guidance, blocks: set[int], model: JointDenoiser) -> None:
    of_negative = guidance.negative_skip_block
    for each in blocks:
        block = resolve_block(each, model)
        if not model.skippable and each == of_negative:
            raise ValueError(f"negative_skip_block is {each}, but this model cannot skip blocks; use {NO_BLOCK} (off)")
        if not model.skippable:
            raise ValueError(f"guidance {guidance.name} skips a block, which this model does not support; choose another guidance")
        if block not in range(model.skippable):
            name = "negative_skip_block" if each == of_negative else "skip_block"
            raise ValueError(f"{name} is {block}; use a block of this model, 0 to {model.skippable - 1}")


def _check_interval(guidance: Guidance, steps: Sequence[Step]) -> None:
    low, high = guidance.interval_low, guidance.interval_high
    times = [t for step in steps for t in (step.t_video, step.t_audio)]
    if not any(in_interval(guidance, t) for t in times):
        raise ValueError(f"no step lies in the guidance interval {low:g} to {high:g}: the times of this run are "
                         f"{max(times):.3g} to {min(times):.3g}; widen the interval")  # fmt: skip


def _names(kinds: Iterable[CouplingKind]) -> str:
    return ", ".join(kind.value for kind in CouplingKind if kind in kinds)
