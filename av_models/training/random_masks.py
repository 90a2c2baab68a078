"""What a joint model is given clean in training, so that it learns to fit the rest to it: see `av_models/given.py`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..contract import AVLatent

# mode: how often. Picture → sound, sound → picture, first frame, a beginning of both, all but a stretch of one stream.
MODES = {"video": 0.25, "audio": 0.25, "first_frame": 0.2, "beginning": 0.1, "video_stretch": 0.1, "audio_stretch": 0.1}


def draw_known(rng: np.random.Generator, rows: int, frames: int, steps: int, modes: Mapping[str, float] = MODES) -> AVLatent:
    """Masks, True where given: latent frames [rows, 1, frames, 1, 1] and sound steps [rows, 1, steps]; never all."""
    video, audio = np.zeros((rows, frames), bool), np.zeros((rows, steps), bool)
    for row, mode in enumerate(rng.choice(list(modes), rows, p=list(modes.values()))):
        if mode == "video":
            video[row] = True
        elif mode == "audio":
            audio[row] = True
        elif mode == "first_frame":
            video[row, 0] = True
        elif mode == "beginning":
            kept = rng.integers(2, frames - 1)
            video[row, :kept] = True
            audio[row, : kept * steps // frames] = True
        else:
            video[row] = audio[row] = True
            stream = (video if mode == "video_stretch" else audio)[row]
            first, last = np.sort(rng.choice(len(stream) + 1, 2, replace=False))
            stream[first:last] = False
    return AVLatent(torch.from_numpy(video)[:, None, :, None, None], torch.from_numpy(audio)[:, None])


def error_of_rest(error: Tensor, known: Tensor) -> Tensor:
    """Mean over what is not known of each row, [B]; zero for a row that is known as a whole. error: [B, C, T, …]."""
    rest = (~known).expand_as(error).to(error.dtype)
    return (error * rest).flatten(1).sum(1) / rest.flatten(1).sum(1).clamp_min(1)
