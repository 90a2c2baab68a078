"""Several binders as one: what fools one of them seldom fools the others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Binder


class BinderEnsemble:
    """How alike two things are is the mean of what all `parts` find; it embeds what each of them can.

    An aligner moves latents by what a binder says, and finds what pleases it before it finds what is right. Networks that
    were trained apart have few mistakes in common (docs/aligner.md, "What one binder cannot see").
    """

    def __init__(self, *parts: Binder) -> None:
        self.parts = parts
        self.name = " + ".join(part.name for part in parts)
        self.licence = "\n".join(dict.fromkeys(part.licence for part in parts if part.licence))
        self.modalities = frozenset.intersection(*(part.modalities for part in parts))

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        return self._joined(lambda part: part.embed_video(frames, fps))

    def embed_image(self, image: Tensor) -> Tensor:
        return self._joined(lambda part: part.embed_image(image))

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self._joined(lambda part: part.embed_audio(waveform, sample_rate))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self._joined(lambda part: part.embed_text(texts))

    def _joined(self, embed: Callable[[Binder], Tensor]) -> Tensor:
        """[B, sum of D], of unit length: the cosine of two such is the mean of the parts' cosines."""
        return torch.cat([embed(part) for part in self.parts], -1) / len(self.parts) ** 0.5


def list_binders(binder: Binder) -> tuple[Binder, ...]:
    """The networks behind `binder`."""
    return binder.parts if isinstance(binder, BinderEnsemble) else (binder,)
