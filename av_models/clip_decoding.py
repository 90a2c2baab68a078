"""The interface between an alignment and what decodes its clean latents, and that of a joint model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .joint_model import JointModel
from .shapes import AVShape


class ClipDecoding(Protocol):
    """Decodes the clean latents of one clip, with gradients.

    fps: frames per second of the whole video. sample_rate: samples per second of the audio.
    saves_memory: whether it recomputes what it decodes in the backward pass. If not, the alignment does.
    """

    @property
    def fps(self) -> float: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def saves_memory(self) -> bool: ...

    def video(self, latent: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Decode video latents [B, C, F, h, w] to frames [B, frames, H, W, 3] in 0..1. chosen: the latent frames; None: all."""
        ...

    def audio(self, latent: Tensor) -> Tensor:
        """Decode audio latents to a waveform [B, channels, samples] in −1..1."""
        ...


@dataclass(frozen=True)
class ModelDecoding:
    """Decodes clips of `shape` with the codecs of a joint model."""

    model: JointModel
    shape: AVShape
    saves_memory: bool = False

    @property
    def fps(self) -> float:
        return float(self.shape.video.fps)

    @property
    def sample_rate(self) -> int:
        return self.shape.audio.sample_rate

    def video(self, latent: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        shown = latent if chosen is None else latent[:, :, list(chosen)]
        return self.model.decode_video_with_grad(shown, self.shape)

    def audio(self, latent: Tensor) -> Tensor:
        return self.model.decode_audio_with_grad(latent, self.shape)
