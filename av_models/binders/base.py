"""The contract of a binder: one space in which a picture, a moving picture, a sound and a text can be compared.

Everything is differentiable with respect to pictures and sound, so that a latent can be moved towards agreement.
"""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

Modality = Literal["video", "image", "audio", "text"]
MIN_SECONDS = 0.03  # seconds: binders hear in windows of up to 32 ms
SILENCE_RMS = 1e-4  # rms: what is not above it is no sound to them


class Binder(Protocol):
    """`modalities`: what it can embed; what is given is brought to the binder's device. Embeddings are of unit length, [B, D]. `licence`: what users must know of the weights',
    where that is anything; "" where not."""

    name: str
    licence: str
    modalities: frozenset[Modality]

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Frames [B, F, H, W, 3] in 0..1 at `fps`, of which few are looked at: only those change their device."""
        ...

    def embed_image(self, image: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] in 0..1."""
        ...

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Waveforms [B, C, samples] in −1..1 at `sample_rate` Hz."""
        ...

    def embed_text(self, texts: list[str]) -> Tensor:
        """A row of each text."""
        ...


def require_modalities(binder: Binder, *modalities: Modality) -> None:
    """Raises ValueError, in one line, for what `binder` cannot embed."""
    missing = [modality for modality in modalities if modality not in binder.modalities]
    if missing:
        can = ", ".join(sorted(binder.modalities))
        raise ValueError(f"{binder.name} embeds no {' and no '.join(missing)}; it embeds {can}: choose another task or binder")


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """F(x, y) = 1 − cos(E(x), E(y)) of rows of embeddings, [B] (Seeing and Hearing, arXiv 2402.17723, eq. 5)."""
    return 1 - (a * b).sum(-1)
