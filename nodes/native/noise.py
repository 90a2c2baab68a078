"""Noise for ComfyUI's own joint models, with one seed for the video and one for the audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...av_models.noise import MAX_SEED, audio_noise, check_seed, video_noise
from ..host import NestedTensor

TIME_IS_LAST = ((32, 2), (8, 16))
"""Channels and height of audio latents whose last axis is the time: MiniMax-H3's [B, 32, 2, T], ACE-Step 1's [B, 8, 16, T]."""
LTX_BINS = 16  # LTX-2's audio is [B, 8, T, 16]


class SeedPair(int):
    """The seed of the video, as ComfyUI passes one on, together with the seed of the audio.

    rows: the rows of a larger batch that the latents are.
    """

    audio: int
    rows: tuple[int, ...]

    def __new__(cls, video: int, audio: int, rows: Sequence[int] = ()) -> SeedPair:
        made = super().__new__(cls, video)
        made.audio, made.rows = audio, tuple(rows)
        return made

    def __getnewargs__(self) -> tuple[int, int, tuple[int, ...]]:  # type: ignore[override]
        return int(self), self.audio, self.rows

    def __add__(self, offset: int) -> SeedPair:
        """Samplers that work in tiles add the number of the tile to the seed."""
        video, audio = ((seed + offset) % (MAX_SEED + 1) for seed in (int(self), self.audio))
        return SeedPair(video, audio, self.rows)


@dataclass
class TwoSeedNoise:
    """A NOISE for ComfyUI's samplers: each stream has its own seed, and each latent frame is drawn separately."""

    video_seed: int
    audio_seed: int
    rows: tuple[int, ...] = field(default=(), init=False, repr=False)  # of the noise that was made last

    def __post_init__(self) -> None:
        check_seed(self.video_seed, "video_seed")
        check_seed(self.audio_seed, "audio_seed")

    @property
    def seed(self) -> SeedPair:
        """The seeds for noise that samplers draw while they run. Other packs set it."""
        return SeedPair(self.video_seed, self.audio_seed, self.rows)

    @seed.setter
    def seed(self, seed: int) -> None:
        self.video_seed, self.audio_seed = int(seed), getattr(seed, "audio", self.audio_seed)

    def generate_noise(self, input_latent: dict[str, Any]) -> NestedTensor | Tensor:
        """Draws noise of the shape of a LATENT of video, with audio or without. Raises ValueError for another one."""
        samples = input_latent["samples"]
        streams = samples.unbind() if getattr(samples, "is_nested", False) else (samples,)
        _check_streams(streams)
        torch.manual_seed(self.video_seed)  # as ComfyUI's noise does, for samplers that draw from torch's generator
        self.rows = tuple(input_latent.get("batch_index") or range(len(streams[0])))
        made = draw_streams([each.shape for each in streams], self.seed, 0, self.rows)
        return NestedTensor(tuple(made)) if getattr(samples, "is_nested", False) else made[0]


def draw_streams(shapes: Sequence[Sequence[int]], seeds: SeedPair, draw: int, rows: Sequence[int]) -> list[Tensor]:
    """Draws noise for latents of `shapes`, the video first. draw: 0 for the initial noise. rows: of a larger batch."""
    batch = max(rows) + 1
    sources = ((video_noise, int(seeds)), (_audio_noise, seeds.audio))
    return [fill((batch, *shape[1:]), seed, draw)[list(rows)] for shape, (fill, seed) in zip(shapes, sources)]


def time_axis(shape: Sequence[int]) -> int:
    """Returns the axis of the latent frames: the last one for MiniMax-H3 and ACE-Step 1, else the third.

    [B, 8, 16, 16] may be LTX-2's or ACE-Step 1's, and is taken for LTX-2's.
    """
    last = len(shape) == 4 and tuple(shape[1:3]) in TIME_IS_LAST
    return 3 if last and tuple(shape[2:]) != (LTX_BINS, LTX_BINS) else 2


def _audio_noise(shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    axis = time_axis(shape)
    if axis == 2:
        return audio_noise(shape, seed, draw)
    batch, channels, height, frames = shape
    return audio_noise((batch, channels, frames, height), seed, draw).movedim(2, axis).contiguous()


def _check_streams(streams: Sequence[Tensor]) -> None:
    dims = [each.ndim for each in streams]
    if dims not in ([5], [5, 3], [5, 4]) or not all(len(each) for each in streams):
        sizes = " and ".join("×".join(map(str, each.shape)) for each in streams)
        raise ValueError(f"the latent is {sizes}, which is neither video nor video and audio; connect LTXVConcatAVLatent")
