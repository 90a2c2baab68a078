"""The contract of a joint denoiser: what every joint model takes and gives.

A joint model predicts both modalities at once. `Coupling` says, for each row of the batch, how much one
modality may know of the other; guidance strategies are built from rows that differ in condition and coupling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from .path import Path

Prediction = Literal["flow", "epsilon", "v", "x0"]
StreamName = Literal["video", "audio"]


@dataclass(frozen=True)
class AVLatent:
    """A pair of latents. `video`: [B, C, T, H, W]; `audio`: [B, C, T] (or [B, C, T, F])."""

    video: Tensor
    audio: Tensor

    @property
    def rows(self) -> int:
        return self.video.shape[0]

    def __getitem__(self, rows: slice) -> AVLatent:
        return AVLatent(self.video[rows], self.audio[rows])

    def each(self, change: Callable[[Tensor], Tensor]) -> AVLatent:
        return AVLatent(change(self.video), change(self.audio))

    def to(self, device: torch.device) -> AVLatent:
        return self.each(lambda part: part.to(device))

    @staticmethod
    def cat(latents: Sequence[AVLatent]) -> AVLatent:
        return AVLatent(torch.cat([x.video for x in latents]), torch.cat([x.audio for x in latents]))


@dataclass(frozen=True)
class LatentShape:
    """Sizes of a pair of latents. `video`: (B, C, T, H, W); `audio`: (B, C, T) or (B, C, T, F)."""

    video: tuple[int, ...]
    audio: tuple[int, ...]


@dataclass(frozen=True)
class AVTime:
    """Diffusion time of each row as its network counts it: for a flow, 0 is clean and 1 is noise. `video`, `audio`: [B]."""

    video: Tensor
    audio: Tensor

    @staticmethod
    def cat(times: Sequence[AVTime]) -> AVTime:
        return AVTime(torch.cat([t.video for t in times]), torch.cat([t.audio for t in times]))


@dataclass(frozen=True)
class Condition:
    """What one modality is asked for.

    `tokens`: [B, L, D], an encoded text or picture; `mask`: [B, L], True where a token is real. `vector`: [B, D], what
    joins the time embedding; `image`: [B, C, 1, h, w], a latent that joins the noisy one on channels; `second`: another
    encoder's tokens; each None where the model takes none. Null conditions are zeros.
    """

    tokens: Tensor
    mask: Tensor
    vector: Tensor | None = None
    image: Tensor | None = None
    second: Condition | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """The same with every tensor changed alike."""
        parts = {name: part if part is None else change(part) for name, part in self._tensors().items()}
        return Condition(**parts, second=self.second and self.second.each(change))

    def to(self, device: torch.device) -> Condition:
        return self.each(lambda part: part.to(device))

    def spread(self, rows: int) -> Condition:
        """One row made `rows`."""
        return self.each(lambda part: part.expand(rows, *part.shape[1:]))

    def padded(self, length: int) -> Condition:
        """Tokens up to `length`, masked where there were none."""
        room = length - self.mask.shape[1]
        return replace(self, tokens=pad(self.tokens, (0, 0, 0, room)), mask=pad(self.mask, (0, room))) if room else self

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """Conditions under one another, shorter ones padded."""
        length = max(part.mask.shape[1] for part in parts)
        padded = [part.padded(length)._tensors() for part in parts]
        merged = {name: None if padded[0][name] is None else torch.cat([p[name] for p in padded]) for name in padded[0]}
        seconds = [part.second for part in parts]
        return Condition(**merged, second=None if seconds[0] is None else Condition.cat(seconds))

    def _tensors(self) -> dict[str, Tensor | None]:
        return {"tokens": self.tokens, "mask": self.mask, "vector": self.vector, "image": self.image}


@dataclass(frozen=True)
class AVCondition:
    """What both modalities are asked for."""

    video: Condition
    audio: Condition

    def each(self, change: Callable[[Tensor], Tensor]) -> AVCondition:
        return AVCondition(self.video.each(change), self.audio.each(change))

    def to(self, device: torch.device) -> AVCondition:
        return self.each(lambda part: part.to(device))

    def spread(self, rows: int) -> AVCondition:
        """One row made `rows`; as it is where there are more."""
        return AVCondition(*(p if p.tokens.shape[0] > 1 else p.spread(rows) for p in (self.video, self.audio)))

    @staticmethod
    def cat(parts: Sequence[AVCondition]) -> AVCondition:
        return AVCondition(Condition.cat([p.video for p in parts]), Condition.cat([p.audio for p in parts]))


class CouplingKind(str, Enum):
    """`FULL`: as trained. `CUT`: same weights, cross-modal keys dropped. `REMOVED`: without what joins the modalities;
    of an AVFullDiT its two experts are left, of a JointDiT the experts and its feed-forwards (eq. 11)."""

    FULL = "full"
    CUT = "cut"
    REMOVED = "removed"


@dataclass(frozen=True)
class Coupling:
    """How a row's modalities interact.

    `a_to_v`, `v_to_a` are directional strengths: the receiving modality's output is `cut + s·(full − cut)`,
    exact at 0 and 1. They apply to `FULL` only.
    """

    kind: CouplingKind = CouplingKind.FULL
    a_to_v: float = 1.0
    v_to_a: float = 1.0

    @property
    def kinds(self) -> tuple[CouplingKind, ...]:
        """The network rows that this coupling costs: one, or two (full and cut) where they must be mixed."""
        if self.kind is not CouplingKind.FULL or self.a_to_v == self.v_to_a == 1.0:
            return (self.kind,)
        if self.a_to_v == self.v_to_a == 0.0:
            return (CouplingKind.CUT,)
        return (CouplingKind.FULL, CouplingKind.CUT)


FULL = Coupling(CouplingKind.FULL)
CUT = Coupling(CouplingKind.CUT)
REMOVED = Coupling(CouplingKind.REMOVED)


Skip = Sequence[int | None]


class JointDenoiser(Protocol):
    """Every joint model. `paths` are the noise worlds of its modalities, video first; `prediction` is what it predicts,
    one kind for each where they differ; `kinds` are the couplings it can do; `skippable` is how many blocks it has that
    a row can do without, 0 where it cannot."""

    paths: tuple[Path, Path]
    prediction: Prediction | tuple[Prediction, Prediction]
    kinds: frozenset[CouplingKind]
    skippable: int

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """One network call. Row i of every argument goes together: `kinds[i]` is its coupling, `skip[i]` the block that it
        does without. A model that cannot skip is never handed a `skip`."""
        ...

    def alone(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """What `predict` has for one stream in removed rows, the other's network left alone. A model that cannot do removed
        rows is never asked."""
        ...


def predictions_of(model: JointDenoiser) -> tuple[Prediction, Prediction]:
    """What the model predicts of the picture and of the sound."""
    return (model.prediction,) * 2 if isinstance(model.prediction, str) else model.prediction


def denoise(
    model: JointDenoiser,
    latent: AVLatent,
    t: AVTime,
    cond: AVCondition,
    coupling: Sequence[Coupling],
    skip: Skip | None = None,
) -> AVLatent:
    """The model's prediction for each row under that row's coupling, in one network call.

    Rows with directional strengths other than 0/1 cost two network rows, `full` and `cut`, and are mixed:
    v̂ = cut_v + a_to_v (full_v − cut_v), â = cut_a + v_to_a (full_a − cut_a).
    """
    source = [row for row, c in enumerate(coupling) for _ in c.kinds]
    kinds = [kind for c in coupling for kind in c.kinds]
    skips = {} if skip is None else {"skip": [skip[row] for row in source]}
    if len(kinds) == len(coupling):
        return model.predict(latent, t, cond, kinds, **skips)
    index = torch.tensor(source, device=latent.video.device)
    rows = model.predict(*take_rows(latent, t, cond, index), kinds, **skips)
    out, at = [], 0
    for c in coupling:
        out.append(mixed([rows[i : i + 1] for i in range(at, at + len(c.kinds))], c))
        at += len(c.kinds)
    return AVLatent.cat(out)


def mixed(parts: Sequence[AVLatent], c: Coupling) -> AVLatent:
    """The prediction under `c`, of predictions for each of its `kinds`."""
    if len(parts) == 1:
        return parts[0]
    full, cut = parts
    return AVLatent(_between(cut.video, full.video, c.a_to_v), _between(cut.audio, full.audio, c.v_to_a))


def _between(cut: Tensor, full: Tensor, strength: float) -> Tensor:
    if strength in (0.0, 1.0):
        return full if strength else cut
    return cut + strength * (full - cut)


def take_rows(latent: AVLatent, t: AVTime, cond: AVCondition, index: Tensor) -> tuple[AVLatent, AVTime, AVCondition]:
    """What `predict` takes, with the rows that `index` [n] names, in that order."""

    return (
        AVLatent(latent.video[index], latent.audio[index]),
        AVTime(t.video[index], t.audio[index]),
        AVCondition(*(part.each(lambda tensor: tensor[index]) for part in (cond.video, cond.audio))),
    )
