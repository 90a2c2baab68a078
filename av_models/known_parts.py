"""Parts of a clip that are given, for the sampler to fit the rest to: a first frame, a stream, a beginning, a stretch.

A model trained with clean parts gets them clean, and t = 0 for a stream that is given as a whole. Any other model gets
them with the noise of the moment, as RePaint does (arXiv 2201.09865, eq. 8, without its resampling).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from .contract import AVLatent, AVTime
from .parameterization import state_of

KnownMode = Literal["clean", "renoised"]


@dataclass(frozen=True)
class KnownParts:
    """`latent`: the clip, known where `known` (bool, broadcastable to the latents) is True; `way`: as the model wants it.

    Raises ValueError, in one line, where nothing is left to sample, sizes do not fit or known values are not finite.
    """

    latent: AVLatent
    known: AVLatent
    way: KnownMode

    def __post_init__(self) -> None:
        if self.way not in ("clean", "renoised"):
            raise ValueError(f"way is {self.way!r}; give 'clean' or 'renoised'")
        for name, x, known in self._streams():
            if known.dtype != torch.bool or not _fits(known, x):
                raise ValueError(f"the {name}'s mask is {_size(known)} of {known.dtype}; give booleans that fit {_size(x)}")
            if not bool(torch.isfinite(torch.where(known, x, torch.zeros_like(x))).all()):
                raise ValueError(f"the given {name} holds NaN or infinite values; give one without")
        if bool(self.known.video.all() & self.known.audio.all()):
            raise ValueError("picture and sound are both given as a whole: nothing is left to sample; give less")

    def _streams(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        return ("picture", self.latent.video, self.known.video), ("sound", self.latent.audio, self.known.audio)

    def noised(self, x: AVLatent, noise: AVLatent, video: tuple[float, float], audio: tuple[float, float]) -> AVLatent:
        """`x` with the known parts as its noise of the moment has them; `video`, `audio`: α and σ of x = α x_0 + σ ε."""
        if self.way == "clean":
            return self.restored(x)
        return self._into(x, state_of(self.latent, noise, video, audio))

    def restored(self, x: AVLatent) -> AVLatent:
        """`x` with the known parts as they were given."""
        return self._into(x, self.latent)

    def unknown(self, prediction: AVLatent) -> AVLatent:
        """`prediction` with zeros for what a network gets clean: it never learned to say anything there."""
        return self._into(prediction, prediction.each(torch.zeros_like)) if self.has_clean_parts else prediction

    @cached_property
    def has_clean_parts(self) -> bool:
        """Whether a network gets any of it clean."""
        return self.way == "clean" and bool(self.known.video.any() | self.known.audio.any())

    def times(self, t: AVTime) -> AVTime:
        """What each row of the network is told: 0 for a stream that it gets clean as a whole."""
        if self.way == "renoised":
            return t
        return AVTime(t.video * ~_whole(self.known.video, t.video), t.audio * ~_whole(self.known.audio, t.audio))

    def _into(self, x: AVLatent, known: AVLatent) -> AVLatent:
        video = torch.where(self.known.video, known.video.to(x.video.dtype), x.video)
        return AVLatent(video, torch.where(self.known.audio, known.audio.to(x.audio.dtype), x.audio))


def _whole(known: Tensor, rows: Tensor) -> Tensor:
    """[B]: rows of which everything is known."""
    return known.flatten(1).all(1).expand(len(rows))


def _fits(known: Tensor, x: Tensor) -> bool:
    return known.ndim == x.ndim and all(k in (1, n) for k, n in zip(known.shape, x.shape))


def _size(x: Tensor) -> str:
    return "×".join(map(str, x.shape))
