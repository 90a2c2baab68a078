"""What a guidance strategy is: the branches it needs at a step, and how their predictions combine.

A strategy never calls a network. The caller runs the branches as it likes (one batch, in turn, another host) and
hands the predictions back. P(c, x): the joint model's prediction with condition c (∅: the negative prompt) and
cross-modal interaction x (1: on, 0: cut or removed). Scales are conventional, s = 1 + ω: 1 is no guidance.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..contract import CUT, FULL, REMOVED, AVLatent, Coupling, CouplingKind

Text = Literal["positive", "negative"]


@dataclass(frozen=True)
class Branch:
    """One prediction that a strategy asks for: which prompt for each modality, how coupled, by which model."""

    video: Text = "positive"
    audio: Text = "positive"
    coupling: Coupling = FULL
    model: Literal["main", "bad"] = "main"
    perturbation: str | None = None


POSITIVE = Branch()
NEGATIVE = Branch("negative", "negative")


@dataclass(frozen=True)
class Step:
    """Where sampling is: step `index` of `count`, at diffusion times in [0, 1] (1 is noise)."""

    index: int
    count: int
    t_video: float
    t_audio: float


@dataclass(frozen=True)
class Weight:
    """How much of a branch goes into each modality."""

    video: float
    audio: float

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.video + other.video, self.audio + other.audio)


NOTHING = Weight(0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Guidance(ABC):
    """A strategy with its settings; every setting is a finite number, or ValueError names it.

    `a_to_v`, `v_to_a`: directional strengths for the branches that are fully coupled. `removed`: every branch runs
    with the joint parameters dropped (parity with the two experts).
    """

    name: ClassVar[str]
    a_to_v: float = 1.0
    v_to_a: float = 1.0
    removed: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{field.name} is {value}; give a finite number")

    @abstractmethod
    def branches(self, step: Step) -> tuple[Branch, ...]:
        """The branches needed at `step`, none of them of weight zero."""

    @abstractmethod
    def combine(self, predictions: Mapping[Branch, AVLatent], step: Step, state: Any = None) -> tuple[AVLatent, Any]:
        """The guided prediction, and the state to hand in at the next step (None at the first)."""

    def coupled(self, branch: Branch) -> Branch:
        """`branch` under this strategy's directional strengths."""
        if self.removed:
            return replace(branch, coupling=REMOVED)
        if branch.coupling.kind is not CouplingKind.FULL:
            return branch
        directional = Coupling(CouplingKind.FULL, self.a_to_v, self.v_to_a)
        return replace(branch, coupling=CUT if directional.kinds == CUT.kinds else directional)


class AffineGuidance(Guidance):
    """A strategy that is a weighted sum of branches, the weights summing to one.

    Such a sum is the same for predictions of any kind (flow velocity, ε, v, x0) and needs no state.
    """

    @abstractmethod
    def weights(self, step: Step) -> Iterable[tuple[Branch, Weight]]:
        """The formula: branches and their weights, the one that the others are compared with first."""

    def branches(self, step: Step) -> tuple[Branch, ...]:
        return tuple(self._needed(step))

    def combine(self, predictions: Mapping[Branch, AVLatent], step: Step, state: Any = None) -> tuple[AVLatent, Any]:
        needed = self._needed(step)
        video = _affine_sum([(w.video, predictions[b].video) for b, w in needed.items() if w.video])
        audio = _affine_sum([(w.audio, predictions[b].audio) for b, w in needed.items() if w.audio])
        return AVLatent(video, audio), state

    def _needed(self, step: Step) -> dict[Branch, Weight]:
        total: dict[Branch, Weight] = {}
        for branch, weight in self.weights(step):
            branch = self.coupled(branch)
            total[branch] = total.get(branch, NOTHING) + weight
        return {branch: weight for branch, weight in total.items() if weight != NOTHING}


def _affine_sum(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Σ wᵢ xᵢ with Σ wᵢ = 1, as x₀ + Σ wᵢ (xᵢ − x₀): the order of operations of diffusers' pipelines."""
    (_, first), *others = terms
    total = first
    for weight, x in others:
        total = total + weight * (x - first)
    return total


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


def require_kinds(guidance: Guidance, steps: Sequence[Step], kinds: Iterable[CouplingKind]) -> None:
    """Raises ValueError if `guidance` needs a coupling that is not among `kinds`, the model's."""
    needed = {kind for step in steps for branch in guidance.branches(step) for kind in branch.coupling.kinds}
    missing = _names(needed - set(kinds))
    if missing:
        raise ValueError(
            f"guidance {guidance.name} needs coupling {missing}, which this model cannot do; "
            f"choose a guidance that does with {_names(kinds)}"
        )


def _names(kinds: Iterable[CouplingKind]) -> str:
    return ", ".join(kind.value for kind in CouplingKind if kind in kinds)
