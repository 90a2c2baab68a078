"""An ensemble of binders: averaging several embedding models reduces false matches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Binder, Embedded, Modality, embed_audio, embed_text_for, embed_video


class BinderEnsemble:
    """A binder whose cosine similarity is the mean over `parts`. It embeds the modalities that all parts support.

    An aligner optimizes latents for a binder's score, so it can exploit errors of that binder. Networks that were trained
    separately share few errors (docs/aligner.md).
    """

    def __init__(self, *parts: Binder) -> None:
        self.parts = parts
        self.name = " + ".join(part.name for part in parts)
        self.licence = "\n".join(dict.fromkeys(part.licence for part in parts if part.licence))
        self.modalities = frozenset.intersection(*(part.modalities for part in parts))

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embed frames [B, F, H, W, 3] in 0..1 at `fps` frames per second: [B, sum of D]."""
        return self._concatenate(lambda part: part.embed_video(frames, fps))

    def embed_image(self, image: Tensor) -> Tensor:
        """Embed images [B, H, W, 3] in 0..1: [B, sum of D]."""
        return self._concatenate(lambda part: part.embed_image(image))

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed waveforms [B, C, samples] in −1..1 at `sample_rate` Hz: [B, sum of D]."""
        return self._concatenate(lambda part: part.embed_audio(waveform, sample_rate))

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embed B texts: [B, sum of D]."""
        return self._concatenate(lambda part: part.embed_text(texts))

    def embed_text_for(self, texts: list[str], modality: Modality) -> Tensor:
        """Embed B texts to compare them with `modality`: [B, sum of D]."""
        return self._concatenate(lambda part: embed_text_for(part, texts, modality))

    def embed_video_times(self, frames: Tensor, fps: float) -> Embedded:
        """Embed frames as `embed_video` does, with the tracks of the parts that see time."""
        return self._join([embed_video(part, frames, fps, times=True) for part in self.parts])

    def embed_audio_times(self, waveform: Tensor, sample_rate: int) -> Embedded:
        """Embed waveforms as `embed_audio` does, with the tracks of the parts that see time."""
        return self._join([embed_audio(part, waveform, sample_rate, times=True) for part in self.parts])

    def _join(self, each: list[Embedded]) -> Embedded:
        embeddings = torch.cat([one.embedding for one in each], -1) / len(each) ** 0.5
        return Embedded(embeddings, tuple(track for one in each for track in one.tracks))

    def _concatenate(self, embed: Callable[[Binder], Tensor]) -> Tensor:
        """Concatenate the parts' embeddings, scaled to unit length: the cosine similarity is then the mean over the parts."""
        return torch.cat([embed(part) for part in self.parts], -1) / len(self.parts) ** 0.5


def list_binders(binder: Binder) -> tuple[Binder, ...]:
    """Return the parts of an ensemble, or the binder itself."""
    return binder.parts if isinstance(binder, BinderEnsemble) else (binder,)
