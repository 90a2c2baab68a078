"""Noise for ComfyUI's own joint models, with one seed for the video and one for the audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...av_models.noise import audio_noise, check_seed, video_noise
from ..host import NestedTensor
from ..latents import split_streams

LATENT_ERROR = ("the latent", "connect LTXV Concat AV Latent")  # name and remedy for `split_streams`
STEREO = (32, 2)  # latent channels and stereo channels of MiniMax-H3's sound [B, 32, 2, T]; LTX-2's sound is [B, 8, T, 16]


@dataclass(frozen=True)
class TwoSeedNoise:
    """A NOISE for ComfyUI's samplers: each stream has its own seed, and each latent frame is drawn separately.

    `seed` is used by samplers that draw more noise while they run.
    """

    video_seed: int
    audio_seed: int

    def __post_init__(self) -> None:
        check_seed(self.video_seed, "video_seed")
        check_seed(self.audio_seed, "audio_seed")

    @property
    def seed(self) -> int:
        return self.video_seed

    def generate_noise(self, input_latent: dict[str, Any]) -> NestedTensor:
        """Draws noise of the shape of a LATENT's two streams. Raises ValueError if it does not hold both."""
        latent = split_streams(input_latent["samples"], *LATENT_ERROR)
        rows = input_latent.get("batch_index") or list(range(latent.rows))  # the rows of a larger batch that these were
        batch = max(rows) + 1
        video = video_noise((batch, *latent.video.shape[1:]), self.video_seed)
        audio = _audio_noise((batch, *latent.audio.shape[1:]), self.audio_seed)
        return NestedTensor((video[rows], audio[rows]))


def _audio_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise of `shape`, drawn along the time axis: the last one for MiniMax-H3's stereo audio, else the third."""
    if shape[1:3] != STEREO or len(shape) != 4:
        return audio_noise(shape, seed)
    batch, channels, stereo, frames = shape
    return audio_noise((batch, channels, frames, stereo), seed).movedim(2, 3).contiguous()
