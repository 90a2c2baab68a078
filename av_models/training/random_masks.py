"""Random masks of known (clean) parts in training, so that a joint model learns to generate the rest: see `known_parts.py`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..contract import AVLatent

# The share of rows with each mode. Known are: the video; the audio; the first frame; the start of both streams; all but a
# segment of the video; all but a segment of the audio.
MODES = {"video": 0.25, "audio": 0.25, "first_frame": 0.2, "beginning": 0.1, "video_stretch": 0.1, "audio_stretch": 0.1}


def draw_known_masks(rng: np.random.Generator, rows: int, frames: int, steps: int, modes: Mapping[str, float] = MODES) -> AVLatent:
    """Draw masks that are True where the latent is known: video [rows, 1, frames, 1, 1] and audio [rows, 1, steps].

    frames, steps: lengths of the latents. modes: the probability of each mode. No row is known completely.
    """
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


def mean_unknown_error(error: Tensor, known: Tensor) -> Tensor:
    """Return the mean error [B] over the unknown part of each row, 0 for a row without one.

    error: [B, C, T, …]. known: bool, broadcastable to it.
    """
    unknown = (~known).expand_as(error).to(error.dtype)
    return (error * unknown).flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp_min(1)
