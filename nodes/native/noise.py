"""Noise for native joint models: a seed for each stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...av_models.noise import audio_noise, check_seed, video_noise
from ..host import NestedTensor
from ..types import both_streams

NATIVE = ("the latent", "connect LTXV Concat AV Latent")  # which, and what to do if it is none
STEREO = (32, 2)  # channels and ears of MiniMax-H3's sound [B, 32, 2, T]; LTX-2's is [B, 8, T, 16]


@dataclass(frozen=True)
class TwoSeeds:
    """ComfyUI's NOISE: each stream from its own seed, one draw for each latent frame. `seed` is for samplers that draw more."""

    video_seed: int
    audio_seed: int

    def __post_init__(self) -> None:
        check_seed(self.video_seed, "video_seed")
        check_seed(self.audio_seed, "audio_seed")

    @property
    def seed(self) -> int:
        return self.video_seed

    def generate_noise(self, input_latent: dict[str, Any]) -> NestedTensor:
        latent = both_streams(input_latent["samples"], *NATIVE)
        places = input_latent.get("batch_index") or list(range(latent.rows))  # rows of a larger batch that these are
        rows = max(places) + 1
        video = video_noise((rows, *latent.video.shape[1:]), self.video_seed)
        return NestedTensor((video[places], _sound((rows, *latent.audio.shape[1:]), self.audio_seed)[places]))


def _sound(shape: tuple[int, ...], seed: int) -> Tensor:
    if shape[1:3] != STEREO or len(shape) != 4:
        return audio_noise(shape, seed)
    rows, channels, ears, steps = shape
    return audio_noise((rows, channels, steps, ears), seed).movedim(2, 3).contiguous()
