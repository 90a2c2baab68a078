"""The interface of a binder: an encoder of video, images, audio and text into one embedding space, such as ImageBind.

Embeddings are differentiable with respect to frames, images and waveforms, so that they can guide a latent by its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Modality = Literal["video", "image", "audio", "text"]
MIN_SECONDS = 0.03  # seconds: shortest audio, because binders use windows of up to 32 ms
SILENCE_RMS = 1e-4  # audio with a root mean square up to this is treated as silence


@dataclass(frozen=True)
class Track:
    """What a binder sees or hears over time, for the distance of *when*.

    features: [B, T, D]. seconds: [T], the middle of each step. duration: of the clip, in seconds.
    """

    features: Tensor
    seconds: Tensor
    duration: float


@dataclass(frozen=True)
class Embedded:
    """An embedding [B, D] of what a clip shows. tracks: of when, one for each binder that sees time."""

    embedding: Tensor
    tracks: tuple[Track, ...] = ()


class Binder(Protocol):
    """An encoder into one embedding space. Embeddings are [B, D] with unit length.

    name: shown in reports and errors.
    licence: a licence notice for users of the weights, or "".
    modalities: what it can embed.
    Inputs may be on any device; they are moved to the binder's device.

    A binder may also say in numbers how it changes its inputs, in methods that return text: describe_video(frames, height, width,
    fps), describe_image(height, width) and describe_audio(channels, samples, sample_rate).
    A binder that sees time has embed_video_times(frames, fps) and embed_audio_times(waveform, sample_rate), which return an
    `Embedded` with tracks. One whose texts have an embedding for each modality has embed_text_for(texts, modality).
    """

    name: str
    licence: str
    modalities: frozenset[Modality]

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embed frames [B, F, H, W, 3] in 0..1 at `fps` frames per second. Only the few frames that it samples are moved."""
        ...

    def embed_image(self, image: Tensor) -> Tensor:
        """Embed images [B, H, W, 3] in 0..1."""
        ...

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed waveforms [B, C, samples] in −1..1 at `sample_rate` Hz."""
        ...

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embed B texts."""
        ...


def require_modalities(binder: Binder, *modalities: Modality) -> None:
    """Raise ValueError when `binder` cannot embed one of `modalities`."""
    missing = [modality for modality in modalities if modality not in binder.modalities]
    if missing:
        can = ", ".join(sorted(binder.modalities))
        raise ValueError(f"{binder.name} cannot embed {' or '.join(missing)}, only {can}; choose another task or binder")


def sees_time(binder: Binder) -> bool:
    """Return whether a binder, or one of an ensemble, sees when things happen, not only what."""
    return any(hasattr(part, "embed_video_times") for part in getattr(binder, "parts", (binder,)))


def embed_video(binder: Binder, frames: Tensor, fps: float, times: bool = False) -> Embedded:
    """Embed frames [B, F, H, W, 3] in 0..1 at `fps` frames per second. times: with tracks, if the binder sees time."""
    own: Any = binder
    return own.embed_video_times(frames, fps) if times and sees_time(binder) else Embedded(binder.embed_video(frames, fps))


def embed_audio(binder: Binder, waveform: Tensor, sample_rate: int, times: bool = False) -> Embedded:
    """Embed waveforms [B, C, samples] in −1..1 at `sample_rate` Hz. times: with tracks, if the binder sees time."""
    own: Any = binder
    if times and sees_time(binder):
        return own.embed_audio_times(waveform, sample_rate)
    return Embedded(binder.embed_audio(waveform, sample_rate))


def embed_text_for(binder: Binder, texts: list[str], modality: Modality) -> Tensor:
    """Embed B texts to compare them with `modality`: [B, D]."""
    own: Any = getattr(binder, "embed_text_for", None)
    return own(texts, modality) if own else binder.embed_text(texts)


def time_distance(a: Track, b: Track) -> Tensor:
    """Return 1 − the correlation of two tracks over the time that both cover: [B], 0 to 2.

    The tracks meet on the steps of the finer one, at the nearest step of the other. The mean over time is taken out of both, so
    that what is there all the time has no weight, and steps at which much changes have most.
    """
    fine, coarse = (a, b) if len(a.seconds) / a.duration >= len(b.seconds) / b.duration else (b, a)
    grid = fine.seconds[fine.seconds < coarse.duration]
    nearest = (grid[:, None] - coarse.seconds).abs().argmin(1)
    one, other = (_changes(x) for x in (fine.features[:, : len(grid)], coarse.features[:, nearest.to(coarse.features.device)]))
    size = one.square().sum((1, 2)) * other.square().sum((1, 2))
    return 1 - (one * other).sum((1, 2)) / size.clamp_min(torch.finfo(size.dtype).tiny).sqrt()


def _changes(features: Tensor) -> Tensor:
    return features - features.mean(1, keepdim=True)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 − cos(a, b) of unit embeddings [B, D] and [B, D], row by row: [B] (Seeing and Hearing, arXiv 2402.17723, eq. 5)."""
    return 1 - (a * b).sum(-1)
