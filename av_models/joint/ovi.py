"""Ovi (arXiv 2510.01284): a video and an audio tower of Wan's architecture and equal depth, joined in every block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.loaders.peft import PeftAdapterMixin
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, Skip, StreamName
from .ovi_block import OviBlock, Received, run_alone
from .ovi_tower import AudioTower, OviTower, VideoTower
from .residual import ResidualTowers, Strengths


@dataclass(frozen=True)
class OviSizes:
    """The sizes of Ovi's networks. The defaults are those of the published ones.

    width: of both towers. feed_forward: inside the feed-forwards. audio_hidden: inside the embedding of the audio.
    frequencies: of the time embedding.
    """

    layers: int = 30
    width: int = 3072
    heads: int = 24
    feed_forward: int = 14336
    video_channels: int = 48
    audio_channels: int = 20
    audio_hidden: int = 8192
    text_width: int = 4096
    frequencies: int = 256


class Ovi(ResidualTowers, PeftAdapterMixin):
    """Predicts the flow velocity of video latents [B, C, T, H, W] and audio latents [B, C, T].

    Every block's cross-attention to the text also attends to the other tower's tokens. This is added before the output
    projection, so that directional strengths scale it. A video time [B, T] gives every latent frame its own time: known frames
    are clean, at time 0. The audio has one time.
    """

    def __init__(self, sizes: OviSizes = OviSizes()) -> None:
        super().__init__()
        shared = sizes.width, sizes.heads
        common = sizes.text_width, sizes.frequencies
        self.sizes = sizes
        self.video = VideoTower(*shared, sizes.video_channels, *common)
        self.audio = AudioTower(*shared, sizes.audio_channels, *common, sizes.audio_hidden)
        self.blocks = nn.ModuleList(OviBlock(sizes.width, sizes.feed_forward, sizes.heads) for _ in range(sizes.layers))
        self.skippable = sizes.layers
        self.own_skip_block = recommended_skip(sizes.layers)

    def run_block(self, block: nn.Module, *args: Any) -> tuple[Tensor, Tensor]:
        """Return the hidden states of both towers after a block."""
        return block(*args)

    def predict_rows(self, latent: AVLatent, t: AVTime, cond: AVCondition, strengths: Strengths, skip: Skip | None) -> AVLatent:
        """Predict the flow velocity of every row. skip: the block of both towers that each row leaves out, or None."""
        video, v, time_v = self.video.embed(latent.video, t.video, cond.video)
        audio, a, time_a = self.audio.embed(latent.audio, t.audio, cond.audio)
        received = Received.of(strengths.a_to_v), Received.of(strengths.v_to_a)
        for number, block in _needed(self.blocks, skip):
            after_v, after_a = self.run_block(block, video, audio, v, a, *received)
            video, audio = _keep_skipped(skip, number, video, after_v), _keep_skipped(skip, number, audio, after_a)
        return AVLatent(self.video.head(video, time_v, latent.video.shape), self.audio.head(audio, time_a, latent.audio.shape))

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict the flow velocity of one modality with its tower alone."""
        tower: OviTower = {"video": self.video, "audio": self.audio}[stream]
        hidden, side, time = tower.embed(latent, t, cond)
        for number, block in _needed(self.blocks, skip):
            hidden = _keep_skipped(skip, number, hidden, run_alone(getattr(block, stream), hidden, side))
        return tower.head(hidden, time, latent.shape)


def recommended_skip(layers: int) -> int:
    """Return the block that Ovi's negative prompt skips: 11 of 30, or the same part of another depth."""
    return 11 * layers // 30


def _needed(blocks: Iterable[nn.Module], skip: Skip | None) -> Iterator[tuple[int, nn.Module]]:
    """Iterate over the blocks, with their numbers, that not all rows skip."""
    numbered = enumerate(blocks)
    return numbered if skip is None else ((number, block) for number, block in numbered if any(each != number for each in skip))


def _keep_skipped(skip: Skip | None, number: int, before: Tensor, after: Tensor) -> Tensor:
    """Return the hidden states after block `number`; rows that skip it keep those before it."""
    if skip is None or number not in skip:
        return after
    rows = torch.tensor([block == number for block in skip], device=before.device)[:, None, None]
    return before.where(rows, after)
