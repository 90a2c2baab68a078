"""The clips that *Save Video + Audio* writes: frames and audio that are there, or latents that are decoded meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from .clip_inputs import split_clips
from .found_fps import find_fps
from .latents import clip_shape, unpack_latent
from .placement import load_codecs

UNUSED = "images and audio are not used: latent is connected"


@dataclass(frozen=True)
class SavedClip:
    """frames: [F, H, W, C], or parts of them in order. count, size: their number, width and height. sound: an AUDIO or None."""

    frames: Tensor | Iterator[Tensor]
    count: int
    size: tuple[int, int]
    sound: dict[str, Any] | None


@dataclass(frozen=True)
class SavedClips:
    """fps: of all clips. found: a line that says how it was found, or none. warnings: grows while clips are decoded."""

    clips: list[SavedClip]
    fps: float | Fraction
    found: list[str]
    warnings: list[str]


def given_clips(images: Tensor | None, audio: dict[str, Any] | None, fps: float) -> SavedClips:
    """Returns the clips of frames and audio. fps: 0 to find it. Raises ValueError if there is nothing to save."""
    if images is None:
        raise ValueError("there is nothing to save; connect images, or model and latent")
    clips = split_clips(images, audio)
    fps, found = find_fps(fps, *clips[0])
    size = images.shape[2], images.shape[1]
    return SavedClips([SavedClip(frames, len(frames), size, sound) for frames, sound in clips], fps, found, [])


def latent_clips(model, latent: dict[str, Any], fps: float, others: bool) -> SavedClips:
    """Returns the clips of a LATENT, whose frames are decoded while they are saved.

    fps: 0 for that of the latent. others: whether images or audio are connected too.
    """
    if model is None:
        raise ValueError("latent is connected without model; connect the model that the latent was sampled with")
    shape, streams = clip_shape(latent, model), unpack_latent(latent)
    warnings = [UNUSED] if others else []
    with torch.no_grad():
        load_codecs(model, model.latent_shape(shape))
        waveforms = model.decode_audio(streams.audio, shape).float().cpu()
    clips = [
        SavedClip(
            model.stream_video(streams.video[row : row + 1], shape, warnings.append), shape.video.frames,
            (shape.video.width, shape.video.height),
            {"waveform": waveforms[row : row + 1], "sample_rate": shape.audio.sample_rate},
        )
        for row in range(streams.rows)
    ]  # fmt: skip
    return SavedClips(clips, fps or shape.video.fps, [], warnings)
