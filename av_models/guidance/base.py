"""The base classes of guidance strategies.

A strategy lists the branches (predictions) that it needs at a step, and combines them into one guided prediction. It does
not call a network: the caller runs the branches, in one batch or one after another, and passes their predictions back.

Notation: P(c, x) is the joint model's prediction with condition c (∅ is the negative prompt) and cross-modal interaction x
(1: on, 0: cut or removed). Guidance scales are s = 1 + ω; a scale of 1 means no guidance.
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
from .modifiers import ramp_over_frames, rescale_prediction, scales_at_step, strengths_at_step
from .step import Step

PromptKind = Literal["positive", "negative"]


@dataclass(frozen=True)
class Branch:
    """One prediction that a strategy needs.

    video, audio: the prompt of each modality.
    coupling: how the two modalities interact.
    model: the sampled model ("main"), or the weaker model of autoguidance ("bad").
    skip_block: the number of a block to skip (spatiotemporal skip guidance), OWN_BLOCK, or None.
    """

    video: PromptKind = "positive"
    audio: PromptKind = "positive"
    coupling: Coupling = FULL
    model: Literal["main", "bad"] = "main"
    skip_block: int | None = None


POSITIVE = Branch()
NEGATIVE = Branch("negative", "negative")
OWN_BLOCK = -1
"""As `skip_block`: the model's own choice, see `resolve_block`."""
NO_BLOCK = -2
"""As `negative_skip_block`: no block is skipped."""


@dataclass(frozen=True)
class Weight:
    """The weight of a branch in the guided prediction of each modality."""

    video: float
    audio: float

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.video + other.video, self.audio + other.audio)


ZERO_WEIGHT = Weight(0.0, 0.0)
Predictions = Mapping[Branch, AVLatent]
Used = tuple[bool, bool]
USED: Used = (True, True)


@dataclass(frozen=True, kw_only=True)
class Guidance(ABC):
    """A guidance strategy: its scales, and the modifiers that all strategies have.

    a_to_v, v_to_a: directional coupling strengths of the fully coupled branches (see `Coupling`).
    removed: run every branch without the joint layers (see `CouplingKind`).
    scale_curve: a factor for s − 1 at each step, for all scales.
    a_to_v_curve, v_to_a_curve: a factor for the directional strength at each step.
    interval_low, interval_high: guidance is applied where low ≤ t ≤ high; at other times the prediction with the prompt is
        used. This is guidance in a limited interval (arXiv 2404.07724), whose σ is t/(1 − t).
    rescale: φ of arXiv 2305.08891, section 3.4, from 0 (off) to 1: how much the standard deviation of the guided
        prediction is moved back to that of the prediction with the prompt.
    audio_rescale: φ of the audio, where it differs from that of the video; -1: the same.
    frame_ramp: the part of the video's s − 1 that its first frame gets, from 0 to 1 (off). It rises linearly to all of
        s − 1 at the last frame. Stable Video Diffusion's pipeline has such a ramp, because its first frame is given.
    negative_skip_block: the block that branches with a negative prompt skip, OWN_BLOCK, or NO_BLOCK (off). Ovi's pipeline has
        it: a weaker negative prediction guides more.

    Raises ValueError if a setting is not a finite number (a curve, for the curves) or not in its range.
    """

    name: ClassVar[str]
    space: ClassVar[Prediction | None] = None
    """The kind of prediction ("flow", "epsilon", "v", "x0") that `combine` needs, or None for any kind."""

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
    audio_rescale: float = -1.0
    negative_skip_block: int = NO_BLOCK

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_curve"):
                if not (value is None or isinstance(value, Curve)):
                    raise ValueError(f"{field.name} is {value}; use a curve")
            elif not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{field.name} is {value}; use a finite number")
        if not 0 <= self.interval_low <= self.interval_high <= 1:
            raise ValueError(f"the guidance interval is {self.interval_low} to {self.interval_high}; "
                             "use two numbers from 0 to 1, the lower one first")  # fmt: skip
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale is {self.rescale}; use a number from 0 (off) to 1")
        if not (0 <= self.audio_rescale <= 1 or self.audio_rescale == -1):
            raise ValueError(f"audio_rescale is {self.audio_rescale}; use a number from 0 (off) to 1, or -1 (the same as rescale)")
        if not 0 <= self.frame_ramp <= 1:
            raise ValueError(f"frame_ramp is {self.frame_ramp}; use a number from 0 (first frame unguided) to 1 (off)")
        if not (isinstance(self.negative_skip_block, numbers.Integral) and self.negative_skip_block >= NO_BLOCK):
            raise ValueError(f"negative_skip_block is {self.negative_skip_block}; use the number of a block, "
                             f"{OWN_BLOCK} (the model's own) or {NO_BLOCK} (off)")  # fmt: skip

    @abstractmethod
    def formula_branches(self, step: Step) -> Sequence[Branch]:
        """Return the branches of the strategy's formula at `step` whose weight is not zero."""

    @abstractmethod
    def apply_formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        """Return the result of the strategy's formula at `step`, and its state for the next step."""

    def branches(self, step: Step) -> tuple[Branch, ...]:
        """Return the branches to run at `step`. If there are none, the step is skipped (zero velocity)."""
        return tuple(self.at_step(step).formula_branches(step))

    def used_streams(self, step: Step) -> dict[Branch, Used]:
        """Return for each branch of `branches(step)` whether its video and its audio have an effect.

        Where a model makes the two independently, it need not make the other one.
        """
        current = self.at_step(step)
        prompt = current.apply_coupling(POSITIVE)  # what `rescale` needs
        return {each: USED if each == prompt else current.effects(each) for each in current.formula_branches(step)}

    def effects(self, branch: Branch) -> Used:
        """Return whether the video and the audio of a branch of the formula have an effect."""
        return USED

    def combine(self, predictions: Predictions, step: Step, state: Any = None) -> tuple[AVLatent, Any]:
        """Combine the branches' predictions into the guided prediction.

        predictions: one prediction per branch of `branches(step)`, of kind `space`.
        state: the state that the previous step returned; None at the first step.
        Returns the guided prediction, of kind `space`, and the state for the next step.
        """
        current = self.at_step(step)
        guided, state = current.apply_formula(predictions, step, state)
        rescale = self.rescale, self.rescale if self.audio_rescale == -1 else self.audio_rescale
        return rescale_prediction(guided, predictions.get(current.apply_coupling(POSITIVE)), *rescale), state

    def at_step(self, step: Step) -> Self:
        """Return this strategy with the scales and directional strengths that apply at `step`."""
        changes: dict[str, Any] = {**scales_at_step(self, step), **strengths_at_step(self, step)}
        return replace(self, **changes) if changes else self

    @property
    def scales(self) -> dict[str, float]:
        """The guidance scales by name; names begin with "video_" or "audio_"."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_scale")}

    def apply_coupling(self, branch: Branch) -> Branch:
        """Return `branch` with the coupling that `removed`, `a_to_v` and `v_to_a` give it, and `negative_skip_block`."""
        if self.negative_skip_block != NO_BLOCK and branch.skip_block is None and "negative" in (branch.video, branch.audio):
            branch = replace(branch, skip_block=self.negative_skip_block)
        if self.removed:
            return replace(branch, coupling=REMOVED)
        if branch.coupling.kind is not CouplingKind.FULL or self.a_to_v == self.v_to_a == 1:
            return branch
        directional = Coupling(CouplingKind.FULL, self.a_to_v, self.v_to_a)
        return replace(branch, coupling=CUT if directional.kinds == CUT.kinds else directional)


class AffineGuidance(Guidance):
    """A strategy that is a weighted sum of branches whose weights sum to 1.

    The sum is valid for predictions of any kind (flow velocity, ε, v, x0). The strategy has no state.
    """

    @abstractmethod
    def weights(self) -> Sequence[tuple[Branch, Weight]]:
        """Return the branches of the formula with their weights. The first one is the reference of the sum."""

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        """Return the branches whose weight is not zero, each once."""
        return list(self._nonzero_weights())

    def effects(self, branch: Branch) -> Used:
        """Return whether the weights of a branch are not zero."""
        weight = self._nonzero_weights()[branch]
        return weight.video != 0, weight.audio != 0

    def apply_formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        """Return the weighted sum of the predictions, and `state` unchanged."""
        needed = self._nonzero_weights()
        prompt = self.apply_coupling(POSITIVE)
        video = _affine_sum([
            (ramp_over_frames(w.video, float(b == prompt), self.frame_ramp, predictions[b].video), predictions[b].video)
            for b, w in needed.items() if w.video
        ])  # fmt: skip
        audio = _affine_sum([(w.audio, predictions[b].audio) for b, w in needed.items() if w.audio])
        return AVLatent(video, audio), state

    def _nonzero_weights(self) -> dict[Branch, Weight]:
        total: dict[Branch, Weight] = {}
        for branch, weight in self.weights():
            branch = self.apply_coupling(branch)
            total[branch] = total.get(branch, ZERO_WEIGHT) + weight
        return {branch: weight for branch, weight in total.items() if weight != ZERO_WEIGHT}


def _affine_sum(terms: Sequence[tuple[float | Tensor, Tensor]]) -> Tensor:
    """Compute Σ wᵢ xᵢ with Σ wᵢ = 1 as x₀ + Σ wᵢ (xᵢ − x₀), in the order of operations of diffusers' pipelines."""
    (_, first), *others = terms
    total = first
    for weight, x in others:
        total = total + weight * (x - first)
    return total


class TwoBranchGuidance(Guidance):
    """A strategy that combines c = P(c,1) and u = P(∅,1) by a formula other than a weighted sum."""

    video_scale: float
    audio_scale: float

    @abstractmethod
    def guide(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the guided prediction of one modality, and its state for the next step."""

    def formula_branches(self, step: Step) -> Sequence[Branch]:
        """Return the branches of the negative prompt and of the prompt; the prompt's alone if both scales are 1."""
        if self.video_scale == self.audio_scale == 1:
            return [self.apply_coupling(POSITIVE)]
        return [self.apply_coupling(NEGATIVE), self.apply_coupling(POSITIVE)]

    def effects(self, branch: Branch) -> Used:
        """Return for which streams the scale is not 1."""
        return self.video_scale != 1, self.audio_scale != 1

    def apply_formula(self, predictions: Predictions, step: Step, state: Any) -> tuple[AVLatent, Any]:
        """Return the guided prediction, and the states of video and audio."""
        c = predictions[self.apply_coupling(POSITIVE)]
        u = predictions.get(self.apply_coupling(NEGATIVE), c)
        video_state, audio_state = state or (None, None)
        scale = ramp_over_frames(self.video_scale, 1.0, self.frame_ramp, c.video)
        video, video_state = self._guide_if_scaled(c.video, u.video, scale, video_state)
        audio, audio_state = self._guide_if_scaled(c.audio, u.audio, self.audio_scale, audio_state)
        return AVLatent(video, audio), (video_state, audio_state)

    def _guide_if_scaled(self, c: Tensor, u: Tensor, scale: float | Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (c, state) if isinstance(scale, float | int) and scale == 1 else self.guide(c, u, scale, state)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute ⟨a, b⟩ of each batch row in float32, shaped [B, 1, …] so that it can multiply `a` or `b`."""
    product = (a.float() * b.float()).flatten(1).sum(1)
    return product.view(-1, *[1] * (a.ndim - 1)).to(a.dtype)
