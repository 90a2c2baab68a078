"""The contract of a joint denoiser: what every joint model takes and gives.

A joint model predicts both modalities at once. `Coupling` says, for each row of the batch, how much one
modality may know of the other; guidance strategies are built from rows that differ in condition and coupling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

import torch
from torch import Tensor

Prediction = Literal["flow", "epsilon", "v", "x0"]


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

    def to(self, device: torch.device) -> AVLatent:
        return AVLatent(self.video.to(device), self.audio.to(device))

    @staticmethod
    def cat(latents: Sequence[AVLatent]) -> AVLatent:
        return AVLatent(torch.cat([x.video for x in latents]), torch.cat([x.audio for x in latents]))


@dataclass(frozen=True)
class AVTime:
    """Diffusion time of each row: 0 is clean, 1 is noise. `video`, `audio`: [B]."""

    video: Tensor
    audio: Tensor

    @staticmethod
    def cat(times: Sequence[AVTime]) -> AVTime:
        return AVTime(torch.cat([t.video for t in times]), torch.cat([t.audio for t in times]))


@dataclass(frozen=True)
class TextCondition:
    """Encoded text of one modality. `tokens`: [B, L, D]; `mask`: [B, L], True where a token is real."""

    tokens: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> TextCondition:
        return TextCondition(self.tokens.to(device), self.mask.to(device))

    @staticmethod
    def cat(parts: Sequence[TextCondition]) -> TextCondition:
        return TextCondition(torch.cat([p.tokens for p in parts]), torch.cat([p.mask for p in parts]))


@dataclass(frozen=True)
class AVCondition:
    """What both modalities are asked for, one text each."""

    video: TextCondition
    audio: TextCondition

    def to(self, device: torch.device) -> AVCondition:
        return AVCondition(self.video.to(device), self.audio.to(device))

    @staticmethod
    def cat(parts: Sequence[AVCondition]) -> AVCondition:
        return AVCondition(TextCondition.cat([p.video for p in parts]), TextCondition.cat([p.audio for p in parts]))


class CouplingKind(str, Enum):
    """`FULL`: as trained. `CUT`: same weights, cross-modal keys dropped. `REMOVED`: joint parameters dropped."""

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
    """Every joint model. `kinds` are the couplings it can do; `prediction` is what it predicts; `skippable` is how many
    blocks it has that a row can do without, 0 where it cannot."""

    prediction: Prediction
    kinds: frozenset[CouplingKind]
    skippable: int

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """One network call. Row i of every argument goes together: `kinds[i]` is its coupling, `skip[i]` the block that it
        does without. A model that cannot skip is never handed a `skip`."""
        ...


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
        out.append(_mix(rows[at : at + len(c.kinds)], c))
        at += len(c.kinds)
    return AVLatent.cat(out)


def _mix(rows: AVLatent, c: Coupling) -> AVLatent:
    if rows.rows == 1:
        return rows
    full, cut = rows[0:1], rows[1:2]
    return AVLatent(_between(cut.video, full.video, c.a_to_v), _between(cut.audio, full.audio, c.v_to_a))


def _between(cut: Tensor, full: Tensor, strength: float) -> Tensor:
    if strength in (0.0, 1.0):
        return full if strength else cut
    return cut + strength * (full - cut)


def take_rows(
    latent: AVLatent, t: AVTime, cond: AVCondition, index: Tensor
) -> tuple[AVLatent, AVTime, AVCondition]:
    """What `predict` takes, with the rows that `index` [n] names, in that order."""

    def text(part: TextCondition) -> TextCondition:
        return TextCondition(part.tokens[index], part.mask[index])

    return (
        AVLatent(latent.video[index], latent.audio[index]),
        AVTime(t.video[index], t.audio[index]),
        AVCondition(text(cond.video), text(cond.audio)),
    )
