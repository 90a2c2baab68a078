"""Binders of no weights, for tests."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, normalize

from duet_av.av_models.binders.base import Embedded, Track


class Quarters:
    """The quarters of a picture, bright or dark, belong to those of a sound, high or low."""

    name, licence = "Quarters", ""
    modalities = frozenset({"video", "audio"})

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        return _pattern(adaptive_avg_pool2d(frames.mean((1, 4)), 2).flatten(1))

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return _pattern(adaptive_avg_pool1d(waveform.mean(1), 4))


class Clock(Quarters):
    """A binder that sees time: a frame is as bright as the sound is loud. What it embeds is the same for all clips."""

    name = "Clock"

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        return frames.mean((1, 2, 3, 4))[:, None] * 0 + 1

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return waveform.mean((1, 2))[:, None] * 0 + 1

    def embed_video_times(self, frames: Tensor, fps: float) -> Embedded:
        count = frames.shape[1]
        track = Track(frames.mean((2, 3, 4))[..., None], (torch.arange(count) + 0.5) / fps, count / fps)
        return Embedded(self.embed_video(frames, fps), (track,))

    def embed_audio_times(self, waveform: Tensor, sample_rate: int) -> Embedded:
        loud = waveform.unflatten(-1, (-1, 250)).square().mean((1, 3))[..., None]
        seconds = (torch.arange(loud.shape[1]) + 0.5) * 250 / sample_rate
        return Embedded(self.embed_audio(waveform, sample_rate), (Track(loud, seconds, waveform.shape[-1] / sample_rate),))


def _pattern(x: Tensor) -> Tensor:
    return normalize(x - x.mean(1, keepdim=True), dim=-1)
