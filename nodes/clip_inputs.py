"""The clip that a node is given: frames, audio and frame rate, or a VIDEO that holds all of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ClipInputs:
    """images: [F, H, W, C] in 0..1, or None. audio: ComfyUI's AUDIO, or None. fps: frames per second. warnings: one line each."""

    images: Tensor | None
    audio: dict[str, Any] | None
    fps: float | Fraction
    warnings: tuple[str, ...] = ()


def read_clip(images: Tensor | None, audio: dict[str, Any] | None, fps: float, video: Any = None) -> ClipInputs:
    """Returns the connected clip. A `video` is used instead of the other inputs."""
    if video is None:
        return ClipInputs(images, audio, fps)
    parts = video.get_components()
    unused = [name for name, each in (("images", images), ("audio", audio)) if each is not None]
    warnings = tuple(f"{name} is connected but not used, because video is connected" for name in unused)
    return ClipInputs(parts.images, parts.audio, parts.frame_rate, warnings)


def split_clips(images: Tensor, audio: dict[str, Any] | None) -> list[tuple]:
    """Splits a batch into clips (frames, audio). The number of clips is the batch size of the audio."""
    rows = 1 if audio is None else len(audio["waveform"])
    if rows == 0 or len(images) % rows:
        raise ValueError(f"{len(images)} frames cannot be split into {rows} clips of equal length; use one audio per clip")
    if rows == 1:
        return [(images, audio)]
    rate = audio["sample_rate"]
    sounds = [{"waveform": waveform[None], "sample_rate": rate} for waveform in audio["waveform"]]
    return list(zip(images.split(len(images) // rows), sounds))
