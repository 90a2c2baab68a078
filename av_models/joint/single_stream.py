"""Half of a joint denoiser: what runs where one stream is given as a whole and the other takes nothing from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, JointDenoiser, Skip, StreamName
from ..known_parts import KnownParts


class SingleStream:
    """`model` in removed rows, of which only the network of `stream` runs; zeros stand for the other's prediction."""

    kinds = frozenset({CouplingKind.REMOVED})

    def __init__(self, model: JointDenoiser, stream: StreamName) -> None:
        self.model, self.stream = model, stream
        self.paths, self.prediction, self.skippable = model.paths, model.prediction, model.skippable

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        x, time, asked = (getattr(pair, self.stream) for pair in (latent, t, cond))
        made = self.model.alone(x, time, asked, self.stream, **({} if skip is None else {"skip": skip}))
        none = AVLatent(torch.zeros_like(latent.video), torch.zeros_like(latent.audio))
        return replace(none, **{self.stream: made})


def skip_known_streams(model: JointDenoiser, given: KnownParts) -> JointDenoiser:
    """What has to run of `model` in removed rows: all of it, or one stream where the other is `given` as a whole."""
    if bool(given.known.video.all()):
        return SingleStream(model, "audio")
    if bool(given.known.audio.all()):
        return SingleStream(model, "video")
    return model
