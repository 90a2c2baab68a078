"""What a guidance strategy is: the branches it needs at a step, and how their predictions combine.

A strategy never calls a network. The caller runs the branches as it likes (one batch, in turn, another host) and
hands the predictions back. P(c, x): the joint model's prediction with condition c (∅: the negative prompt) and
cross-modal interaction x (1: on, 0: cut or removed). Scales are conventional, s = 1 + ω: 1 is no guidance.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from ..contract import CUT, FULL, REMOVED, AVLatent, Coupling, CouplingKind, Prediction
from .curve import Curve
from .modifiers import over_frames, rescaled, scales_at, strengths_at
from .step import Step

Text = Literal["positive", "negative"]


@dataclass(frozen=True)
class Branch:
    """One prediction that a strategy asks for: which prompt for each modality, how coupled, by which model.

    `skip_block`: a block of the model that this branch does without (spatiotemporal skip guidance).
    """

    video: Text = "positive"
    audio: Text = "positive"
    coupling: Coupling = FULL
    model: Literal["main", "bad"] = "main"
    skip_block: int | None = None


POSITIVE = Branch()
NEGATIVE = Branch("negative", "negative")


@dataclass(frozen=True)
class Weight:
    """How much of a branch goes into each modality."""

    video: float
    audio: float

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.video + other.video, self.audio + other.audio)


NOTHING = Weight(0.0, 0.0)
Predictions = Mapping[Branch, AVLatent]


@dataclass(frozen=True, kw_only=True)
class Guidance(ABC):
    """A strategy with its settings, and the modifiers that every strategy takes.

    a_to_v, v_to_a: directional strengths of the branches that are fully coupled, times their curves over the steps.
    removed: every branch runs without what joins the modalities (see `CouplingKind`).
    scale_curve: how much of the guidance, s − 1, is left at each step.
    interval_low, interval_high: guided where low ≤ t ≤ high only, elsewhere the prompt alone: guidance in a limited
        interval (arXiv 2404.07724), whose σ is t/(1 − t).
    rescale: φ of arXiv 2305.08891, section 3.4: how far the guided prediction's std goes back to the prompt's own.
    frame_ramp: the part of the picture's guidance, s − 1, that its first frame gets, rising evenly to all of it at the
        last; Stable Video Diffusion, which is given its first frame, has 0.

    Every setting is a finite number or a curve; ValueError names the one that is not.
    """

    name: ClassVar[str]
    space: ClassVar[Prediction | None] = None
    """What predictions must be to be combined: as the strategy's paper has it, or None where any will do."""

    a_to_v: float = 1.0
    v_to_a: float = 1.0
    removed: bool = False
    scale_curve: Curve | None = None
    a_to_v_curve: Curve | None = None
    v_to_a_curve: Curve | None = None
    interval_low: float = 0.0
    interval_high: float = 1.0
    rescale: float = 0.0
    frame_ramp: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_curve"):
                if not (value is None or isinstance(value, Curve)):
                    raise ValueError(f"{field.name} is {value}; give a curve")
            elif not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{field.name} is {value}; give a finite number")
        if not 0 <= self.interval_low <= self.interval_high <= 1:
            raise ValueError(f"the interval is {self.interval_low} to {self.interval_high}; "
                             "give two numbers from 0 to 1, the lower first")  # fmt: skip
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale is {self.rescale}; give a number from 0 (off) to 1")
        if not 0 <= self.frame_ramp <= 1:
            raise ValueError(f"frame_ramp is {self.frame_ramp}; give a number from 0 (none at the first frame) to 1 (off)")

    @abstractmethod
    def formula_branches(self, step: Step) -> Sequence[Branch]:
        """The branches of the formula at `step`, none of them of weight zero."""

    @abstractmethod
    def formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        """The formula at `step`."""

    def branches(self, step: Step) -> tuple[Branch, ...]:
        """The branches needed at `step`; where there are none, the step stands still (velocity zero)."""
        return tuple(self.at(step).formula_branches(step))

    def combine(self, predictions: Predictions, step: Step, state: Any = None) -> tuple[AVLatent, Any]:
        """The guided prediction, and the state to hand in at the next step (None at the first).

        Predictions are of kind `space`, and so is what comes out.
        """
        now = self.at(step)
        guided, state = now.formula(predictions, step, state)
        return rescaled(guided, predictions.get(now.coupled(POSITIVE)), self.rescale), state

    def at(self, step: Step) -> Self:
        """This strategy with the scales and strengths that it has at `step`."""
        return replace(self, **scales_at(self, step), **strengths_at(self, step))

    @property
    def scales(self) -> dict[str, float]:
        """Its scales by name, each of one modality: `video_…` or `audio_…`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_scale")}

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
    def weights(self) -> Sequence[tuple[Branch, Weight]]:
        """The formula: branches and their weights, the one that the others are compared with first."""

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        return list(self._needed())

    def formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        needed = self._needed()
        prompt = self.coupled(POSITIVE)
        video = _affine_sum([
            (over_frames(w.video, float(b == prompt), self.frame_ramp, predictions[b].video), predictions[b].video)
            for b, w in needed.items() if w.video
        ])  # fmt: skip
        audio = _affine_sum([(w.audio, predictions[b].audio) for b, w in needed.items() if w.audio])
        return AVLatent(video, audio), state

    def _needed(self) -> dict[Branch, Weight]:
        total: dict[Branch, Weight] = {}
        for branch, weight in self.weights():
            branch = self.coupled(branch)
            total[branch] = total.get(branch, NOTHING) + weight
        return {branch: weight for branch, weight in total.items() if weight != NOTHING}


def _affine_sum(terms: Sequence[tuple[float | Tensor, Tensor]]) -> Tensor:
    """Σ wᵢ xᵢ with Σ wᵢ = 1, as x₀ + Σ wᵢ (xᵢ − x₀): the order of operations of diffusers' pipelines."""
    (_, first), *others = terms
    total = first
    for weight, x in others:
        total = total + weight * (x - first)
    return total


class TwoBranchGuidance(Guidance):
    """A strategy that compares P(c,1) with P(∅,1) by a formula that is no weighted sum."""

    video_scale: float
    audio_scale: float

    @abstractmethod
    def guided(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The formula for one modality."""

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        if self.video_scale == self.audio_scale == 1:
            return [self.coupled(POSITIVE)]
        return [self.coupled(NEGATIVE), self.coupled(POSITIVE)]

    def formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        c = predictions[self.coupled(POSITIVE)]
        u = predictions.get(self.coupled(NEGATIVE), c)
        before = state or (None, None)
        scale = over_frames(self.video_scale, 1.0, self.frame_ramp, c.video)
        video, of_video = self._one(c.video, u.video, scale, before[0])
        audio, of_audio = self._one(c.audio, u.audio, self.audio_scale, before[1])
        return AVLatent(video, audio), (of_video, of_audio)

    def _one(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (c, state) if isinstance(scale, float | int) and scale == 1 else self.guided(c, u, scale, state)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩ of each row, shaped to multiply it."""
    product = (a.float() * b.float()).flatten(1).sum(1)
    return product.view(-1, *[1] * (a.ndim - 1)).to(a.dtype)
