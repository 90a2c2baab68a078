"""The interface of a joint denoiser: latents, times, conditions, coupling.

A joint model predicts video and audio together. `Coupling` sets for each row of the batch how the modalities interact. Guidance
strategies combine the predictions of rows with different conditions and couplings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, Protocol, TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import pad

from .path import Path

Prediction = Literal["flow", "epsilon", "v", "x0"]
StreamName = Literal["video", "audio"]


@dataclass(frozen=True)
class AVLatent:
    """A pair of latents. video: [B, C, T, H, W]; audio: [B, C, T], or [B, C, T, F] for spectrogram latents."""

    video: Tensor
    audio: Tensor

    @property
    def rows(self) -> int:
        """The batch size B."""
        return self.video.shape[0]

    def __getitem__(self, rows: slice) -> AVLatent:
        return AVLatent(self.video[rows], self.audio[rows])

    def each(self, change: Callable[[Tensor], Tensor]) -> AVLatent:
        """Apply `change` to both latents."""
        return AVLatent(change(self.video), change(self.audio))

    def to(self, device: torch.device) -> AVLatent:
        return self.each(lambda part: part.to(device))

    @staticmethod
    def cat(latents: Sequence[AVLatent]) -> AVLatent:
        """Concatenate latents on the batch axis."""
        return AVLatent(torch.cat([x.video for x in latents]), torch.cat([x.audio for x in latents]))


@dataclass(frozen=True)
class LatentShape:
    """The shapes of a pair of latents. video: (B, C, T, H, W); audio: (B, C, T) or (B, C, T, F)."""

    video: tuple[int, ...]
    audio: tuple[int, ...]


@dataclass(frozen=True)
class AVTime:
    """The network's timestep of each row, [B] for video and audio; for flow matching, 0 is clean and 1 is noise.

    [B, T], one for each latent frame or latent step, for models that take known frames clean (`KnownMode` "frames").
    """

    video: Tensor
    audio: Tensor

    @staticmethod
    def cat(times: Sequence[AVTime]) -> AVTime:
        return AVTime(torch.cat([t.video for t in times]), torch.cat([t.audio for t in times]))


@dataclass(frozen=True)
class Condition:
    """The encoded condition of one modality.

    tokens: [B, L, D], an encoded text or image.
    mask: bool [B, L], False at padding.
    vector: [B, D], added to the time embedding; None if the model has no such input.
    image: [B, C, 1, h, w], a latent that is concatenated with the noisy one on the channel axis; None as above.
    second: the tokens and mask of a second text encoder; None as above.
    padding: [B, M, D], the encoder's output at the positions after the tokens, for a model that attends to padding. Its positive
        and negative prompt then always have one length (see `matched`). None: padding is zeros, and the model ignores it.

    The null condition ∅ of most models is zeros.
    """

    tokens: Tensor
    mask: Tensor
    vector: Tensor | None = None
    image: Tensor | None = None
    second: Condition | None = None
    padding: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """Apply `change` to every tensor."""
        vector, image, padding = (part if part is None else change(part) for part in (self.vector, self.image, self.padding))
        return Condition(change(self.tokens), change(self.mask), vector, image, self.second and self.second.each(change), padding)

    def to(self, device: torch.device) -> Condition:
        return self.each(lambda part: part.to(device))

    def expand(self, rows: int) -> Condition:
        """Repeat a condition with one row `rows` times."""
        return self.each(lambda part: part.expand(rows, *part.shape[1:]))

    def padded(self, length: int) -> Condition:
        """Pad the tokens to `length`, with `padding` and then with zeros; the mask is False there."""
        added = length - self.mask.shape[1]
        if not added:
            return self
        mask, encoded, left = pad(self.mask, (0, added)), self.tokens, self.padding
        if left is not None:
            encoded, left = torch.cat([encoded, left[:, :added]], 1), left[:, added:]
        return replace(self, tokens=pad(encoded, (0, 0, 0, length - encoded.shape[1])), mask=mask, padding=left)

    def matched(self, other: Condition) -> Condition:
        """Return this prompt as long as `other` or longer, for a model that attends to padding; else unchanged."""
        return self if self.padding is None else self.padded(max(self.mask.shape[1], other.mask.shape[1]))

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """Concatenate conditions on the batch axis; shorter token sequences are padded."""
        length = max(part.mask.shape[1] for part in parts)
        padded = [part.padded(length) for part in parts]
        seconds = [part.second for part in parts if part.second is not None]
        return Condition(
            torch.cat([part.tokens for part in padded]),
            torch.cat([part.mask for part in padded]),
            _cat_optional([part.vector for part in parts]),
            _cat_optional([part.image for part in parts]),
            Condition.cat(seconds) if seconds else None,
            _cat_paddings([part.padding for part in padded]),
        )


def _cat_optional(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Concatenate tensors on the batch axis; return None if the model does not use them."""
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if tensors else None


def _cat_paddings(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Concatenate paddings on the batch axis, each cut to the shortest."""
    shortest = min((part.shape[1] for part in parts if part is not None), default=0)
    return _cat_optional([part if part is None else part[:, :shortest] for part in parts])


@dataclass(frozen=True)
class AVCondition:
    """The conditions of both modalities."""

    video: Condition
    audio: Condition

    def each(self, change: Callable[[Tensor], Tensor]) -> AVCondition:
        return AVCondition(self.video.each(change), self.audio.each(change))

    def to(self, device: torch.device) -> AVCondition:
        return self.each(lambda part: part.to(device))

    def expand(self, rows: int) -> AVCondition:
        """Repeat a condition with one row `rows` times; return one with more rows unchanged."""
        return AVCondition(*(p if p.tokens.shape[0] > 1 else p.expand(rows) for p in (self.video, self.audio)))

    def matched(self, other: AVCondition) -> AVCondition:
        """Return each prompt as long as that of `other` or longer, where its model attends to padding."""
        return AVCondition(self.video.matched(other.video), self.audio.matched(other.audio))

    @staticmethod
    def cat(parts: Sequence[AVCondition]) -> AVCondition:
        return AVCondition(Condition.cat([p.video for p in parts]), Condition.cat([p.audio for p in parts]))


class CouplingKind(str, Enum):
    """How video and audio interact in a row.

    FULL: as trained.
    CUT: with the same weights, but without the keys and values of the other modality.
    REMOVED: without the joint parameters. An AVFullDiT is then its two experts, and a JointDiT is its two experts with its
        feed-forwards (eq. 11).
    """

    FULL = "full"
    CUT = "cut"
    REMOVED = "removed"


@dataclass(frozen=True)
class Coupling:
    """The interaction of a row's modalities.

    a_to_v, v_to_a: directional strengths s of FULL coupling, from audio to video and from video to audio. The prediction of
        the receiving modality is cut + s·(full − cut); it is exactly cut at 0 and exactly full at 1. Models whose cross-modal
        layers are residuals scale these by s instead, in one row (`ResidualTowers`).
    """

    kind: CouplingKind = CouplingKind.FULL
    a_to_v: float = 1.0
    v_to_a: float = 1.0

    @property
    def kinds(self) -> tuple[CouplingKind, ...]:
        """The couplings of the network rows that this one needs: one row, or two (full and cut) that are combined."""
        if self.kind is not CouplingKind.FULL or self.a_to_v == self.v_to_a == 1.0:
            return (self.kind,)
        if self.a_to_v == self.v_to_a == 0.0:
            return (CouplingKind.CUT,)
        return (CouplingKind.FULL, CouplingKind.CUT)


FULL = Coupling(CouplingKind.FULL)
CUT = Coupling(CouplingKind.CUT)
REMOVED = Coupling(CouplingKind.REMOVED)


Skip = Sequence[int | None]
"""The number of the block that each row skips, or None."""


class JointDenoiser(Protocol):
    """The interface of every joint model.

    paths: the noise schedules of video and audio.
    prediction: the prediction type, or one for each modality.
    kinds: the supported couplings.
    skippable: number of blocks that a row can choose to skip one of; 0 if the model does not support skipping.

    Some models have more: `own_skip_block`, the block that they skip by default; `refuses_guidance`, why they take no guidance;
    `policy`, the scheduler that they are distilled for (see `PolicyClock`); `takes_first_frame` (see `first_frame.py`);
    `predict_coupled` (see `ResidualTowers`), which scales directional strengths in one row.
    """

    @property
    def paths(self) -> tuple[Path, Path]: ...

    @property
    def prediction(self) -> Prediction | tuple[Prediction, Prediction]: ...

    @property
    def kinds(self) -> frozenset[CouplingKind]: ...

    @property
    def skippable(self) -> int: ...

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Predict all rows in one network call.

        t: the network's timesteps. kinds: the coupling of each row.
        skip: the block that each row skips, or None; not passed to models with `skippable` 0.
        """
        ...

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict one modality with REMOVED coupling, without running the network of the other one.

        Called only on models that support REMOVED.
        """
        ...


def prediction_types(model: JointDenoiser) -> tuple[Prediction, Prediction]:
    """Return the prediction types of video and audio."""
    return (model.prediction,) * 2 if isinstance(model.prediction, str) else model.prediction


class OneRowDenoiser(JointDenoiser, Protocol):
    """A joint model that scales its cross-modal layers by the directional strengths, in one network row."""

    def predict_coupled(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, coupling: Sequence[Coupling], skip: Skip | None = None
    ) -> AVLatent:
        """Predict all rows in one network call, each with its coupling."""
        ...


def scales_in_one_row(model: JointDenoiser | None) -> TypeGuard[OneRowDenoiser]:
    """Return whether the model needs one network row for every coupling."""
    return hasattr(model, "predict_coupled")


def denoise(
    model: JointDenoiser,
    latent: AVLatent,
    t: AVTime,
    cond: AVCondition,
    coupling: Sequence[Coupling],
    skip: Skip | None = None,
) -> AVLatent:
    """Predict each row with its own coupling, in one network call.

    Unless its directional strengths are both 1 or both 0, a row needs two network rows, full and cut, which are combined:
    v̂ = cut_v + a_to_v (full_v − cut_v), â = cut_a + v_to_a (full_a − cut_a). Models with `predict_coupled` need one.
    """
    if scales_in_one_row(model):
        return model.predict_coupled(latent, t, cond, coupling, skip)
    source = [row for row, c in enumerate(coupling) for _ in c.kinds]
    kinds = [kind for c in coupling for kind in c.kinds]
    skips: dict[str, Any] = {} if skip is None else {"skip": [skip[row] for row in source]}
    if len(kinds) == len(coupling):
        return model.predict(latent, t, cond, kinds, **skips)
    index = torch.tensor(source, device=latent.video.device)
    rows = model.predict(*take_rows(latent, t, cond, index), kinds, **skips)
    out, at = [], 0
    for c in coupling:
        out.append(combine_couplings([rows[i : i + 1] for i in range(at, at + len(c.kinds))], c))
        at += len(c.kinds)
    return AVLatent.cat(out)


def combine_couplings(parts: Sequence[AVLatent], c: Coupling) -> AVLatent:
    """Return the prediction with coupling `c` from the predictions of its `kinds`."""
    if len(parts) == 1:
        return parts[0]
    full, cut = parts
    return AVLatent(_between(cut.video, full.video, c.a_to_v), _between(cut.audio, full.audio, c.v_to_a))


def _between(cut: Tensor, full: Tensor, strength: float) -> Tensor:
    if strength in (0.0, 1.0):
        return full if strength else cut
    return cut + strength * (full - cut)


def take_rows(latent: AVLatent, t: AVTime, cond: AVCondition, index: Tensor) -> tuple[AVLatent, AVTime, AVCondition]:
    """Return the arguments of `predict` for the rows `index` [n], in that order."""
    return (
        AVLatent(latent.video[index], latent.audio[index]),
        AVTime(t.video[index], t.audio[index]),
        AVCondition(*(part.each(lambda tensor: tensor[index]) for part in (cond.video, cond.audio))),
    )
