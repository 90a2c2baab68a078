"""The joint denoiser of two experts without joint layers.

Video and audio share only the sampler's time grid and, where one is used, the latent aligner (Seeing and Hearing, CVPR 2024,
arXiv 2402.17723).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, Prediction, Skip, StreamName
from ..path import Path
from ..shapes import AVShape
from .clip_view import experts_for_clip, with_attributes


class SingleExpert(Protocol):
    """An expert of one modality.

    path: its noise schedule. prediction: the kind of its prediction ("flow", "epsilon", "v" or "x0").
    """

    @property
    def path(self) -> Path: ...
    @property
    def prediction(self) -> Prediction: ...

    def __call__(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Return the prediction, shaped as `latent` [B, C, …]; t: the network's timesteps [B]."""
        ...


class SeparateExperts(nn.Module):
    """The joint denoiser of any two experts. It has no joint layers, so `REMOVED` is its only coupling."""

    kinds = frozenset({CouplingKind.REMOVED})
    skippable = 0
    video: SingleExpert
    audio: SingleExpert

    def __init__(self, video: SingleExpert, audio: SingleExpert) -> None:
        super().__init__()
        self.video, self.audio = video, audio
        self.paths, self.prediction = (video.path, audio.path), (video.prediction, audio.prediction)

    def for_clip(self, shape: AVShape) -> SeparateExperts:
        """Return this denoiser, with the same weights, for clips of `shape`."""
        return with_attributes(self, experts_for_clip(self, shape))

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Return the predictions of both experts, each of its own prediction type."""
        return AVLatent(self.video(latent.video, t.video, cond.video), self.audio(latent.audio, t.audio, cond.audio))

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Return the prediction of one expert without running the other."""
        return {"video": self.video, "audio": self.audio}[stream](latent, t, cond)
