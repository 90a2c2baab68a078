"""Two experts side by side that were never woven: the joint denoiser of a pair with nothing in common.

Picture and sound meet in the sampler's clock and in an aligner alone (Seeing and Hearing, CVPR 2024, arXiv 2402.17723).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, Prediction, Skip, StreamName
from ..path import Path


class SingleExpert(Protocol):
    """An expert that predicts one modality: `path` is its noise world, `prediction` what it predicts."""

    path: Path
    prediction: Prediction

    def __call__(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor: ...


class SeparateExperts(nn.Module):
    """The joint denoiser of any two experts. There are no joint parameters, so `REMOVED` is all it can do."""

    kinds = frozenset({CouplingKind.REMOVED})
    skippable = 0

    def __init__(self, video: SingleExpert, audio: SingleExpert) -> None:
        super().__init__()
        self.video, self.audio = video, audio
        self.paths, self.prediction = (video.path, audio.path), (video.prediction, audio.prediction)

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Each expert's own prediction, each of its own kind."""
        return AVLatent(self.video(latent.video, t.video, cond.video), self.audio(latent.audio, t.audio, cond.audio))

    def alone(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName) -> Tensor:
        """One expert's prediction, the other left alone."""
        return {"video": self.video, "audio": self.audio}[stream](latent, t, cond)
