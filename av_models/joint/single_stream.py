"""Runs only one modality's network of a joint denoiser, where the other modality is fully known and the rows are removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, JointDenoiser, Skip, StreamName
from ..known_parts import KnownParts


class SingleStream:
    """A joint denoiser that predicts only `stream` of `model`, in removed rows. The other prediction is zero."""

    kinds = frozenset({CouplingKind.REMOVED})

    def __init__(self, model: JointDenoiser, stream: StreamName) -> None:
        self.model, self.stream = model, stream
        self.paths, self.prediction, self.skippable = model.paths, model.prediction, model.skippable

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Return the prediction of `stream`, and zeros for the other modality."""
        x, time, condition = (getattr(pair, self.stream) for pair in (latent, t, cond))
        zeros = AVLatent(torch.zeros_like(latent.video), torch.zeros_like(latent.audio))
        return replace(zeros, **{self.stream: self.predict_stream(x, time, condition, self.stream, skip)})

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Return the model's prediction for one modality."""
        options: dict[str, Any] = {} if skip is None else {"skip": skip}
        return self.model.predict_stream(latent, t, cond, stream, **options)


def skip_known_streams(model: JointDenoiser, known_parts: KnownParts) -> JointDenoiser:
    """Return the part of `model` to run in removed rows: one modality if the other is fully known, else all of it."""
    if bool(known_parts.known.video.all()):
        return SingleStream(model, "audio")
    if bool(known_parts.known.audio.all()):
        return SingleStream(model, "video")
    return model
