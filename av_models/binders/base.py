"""The interface of a binder: an encoder of video, images, audio and text into one embedding space, such as ImageBind.

Embeddings are differentiable with respect to frames, images and waveforms, so that they can guide a latent by its gradient.
"""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

Modality = Literal["video", "image", "audio", "text"]
MIN_SECONDS = 0.03  # seconds: shortest audio, because binders use windows of up to 32 ms
SILENCE_RMS = 1e-4  # audio with a root mean square up to this is treated as silence


class Binder(Protocol):
    """An encoder into one embedding space. Embeddings are [B, D] with unit length.

    name: shown in reports and errors.
    licence: a licence notice for users of the weights, or "".
    modalities: what it can embed.
    Inputs may be on any device; they are moved to the binder's device.

    A binder may also say in numbers how it changes its inputs, in methods that return text: describe_video(frames, height, width,
    fps), describe_image(height, width) and describe_audio(channels, samples, sample_rate).
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


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 − cos(a, b) of unit embeddings [B, D] and [B, D], row by row: [B] (Seeing and Hearing, arXiv 2402.17723, eq. 5)."""
    return 1 - (a * b).sum(-1)
