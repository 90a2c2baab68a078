"""The stage that trains Bounce-Bind with a contrastive loss over the video, the audio and the captions of clips."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...av_models.checkpoint import half, save_checkpoint
from ...av_models.training.flow import batch_generator, device_of
from ..binder import BounceBind
from ..binder_audio import RATE
from ..world.captions import VOCABULARY, captions
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import FPS, FRAMES, Worlds, simulate

EVERY = 4  # frames of a clip that are kept
LOUDEST_GAIN = 30.0  # largest gain of an overdriven sound


class BinderStage:
    """Trains Bounce-Bind from scratch.

    Clips are rendered in pools. Random noise is added to hide faint details: with a binder that relies on details that
    cannot be seen or heard, an aligner would change just those.

    config: `stage_config`. out: path of the checkpoint.
    """

    rank = 0

    def __init__(self, config: dict[str, Any], out: Path) -> None:
        self.batch, self.clips, self.reuse = config["batch"], config["clips_per_pool"], config["steps_per_pool"]
        self.size, self.out = config["size"], out
        self.picture_noise, self.sound_noise = config["picture_noise"], config["sound_noise"]
        self.model = BounceBind(list(VOCABULARY), **config["model"])

    @lru_cache(maxsize=1)
    def worlds(self, index: int) -> Worlds:
        """Simulates the clips of a pool."""
        return simulate(self.clips, "train", seed=index)

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> tuple[Tensor, Tensor, list[str], list[str]]:
        """Renders the frames, waveforms, video captions and audio captions of a pool."""
        worlds = self.worlds(index)
        frames = torch.from_numpy(render(worlds, self.size)[:, :FRAMES:EVERY].copy())
        return frames, torch.from_numpy(render_sound(worlds)), *captions(worlds, index)

    def draw_batch(self, step: int) -> tuple[np.ndarray, Tensor, Tensor, list[str], list[str]]:
        """Draws a batch: rows of the pool, frames [B, F, H, W, 3], waveforms [B, 1, samples], and the captions of both."""
        frames, sounds, seen, heard = self.pool(step // self.reuse)
        rows, device = batch_generator(step, 8, self.rank).integers(0, len(frames), self.batch), device_of(self.model)
        pictures, waves = frames[rows].to(device).float() / 255, sounds[rows][:, None].to(device)
        return rows, pictures, waves, [seen[row] for row in rows], [heard[row] for row in rows]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        _, frames, waves, video_captions, audio_captions = self.draw_batch(step)
        video = self.model.embed_video(self._add_noise(frames, self.picture_noise), FPS / EVERY)
        audio = self.model.embed_audio(self._add_noise(waves, self.sound_noise), RATE)
        video_text, audio_text = self.model.embed_text(video_captions), self.model.embed_text(audio_captions)
        negatives = self.model.embed_audio(overdrive(waves), RATE)
        temperature = self.model.temperature.exp()
        losses = {
            "picture_sound": contrastive_loss(video, audio, temperature, negatives),
            "picture_words": contrastive_loss(video, video_text, temperature),
            "sound_words": contrastive_loss(audio_text, audio, temperature, negatives),
        }
        return total_loss(losses)

    def _add_noise(self, x: Tensor, most: float) -> Tensor:
        """Adds noise to each row, with a random level up to `most`."""
        level = most * torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        return x + level * torch.randn_like(x)

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {"kind": "binder", "architecture": "BounceBind", "config": model.config, "trained": True, "run": run,
                "licence": "Apache-2.0"}  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def total_loss(losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Returns the sum of the losses, and the values to log."""
    total = sum(losses.values())
    return total, {"loss": total.item()} | {name: loss.item() for name, loss in losses.items()}


def overdrive(waves: Tensor) -> Tensor:
    """Amplifies and clips a random part of each row of `waves` [B, C, samples], with a random gain.

    The results are negatives for the contrastive loss. A latent that an aligner moves too far sounds like this.
    """
    rows, samples = len(waves), waves.shape[-1]
    start, length = torch.rand(2, rows, 1, 1, device=waves.device)
    at = torch.linspace(0, 1, samples, device=waves.device)
    gain = 2 * (LOUDEST_GAIN / 2) ** torch.rand(rows, 1, 1, device=waves.device)
    return torch.where((at >= start * 0.9) & (at < start * 0.9 + 0.1 + length), waves * gain, waves).clamp(-1, 1)


def contrastive_loss(
    a: Tensor, b: Tensor, temperature: Tensor, negatives: Tensor | None = None, same: Tensor | None = None
) -> Tensor:
    """Computes the symmetric InfoNCE loss of matching rows of `a` and `b` [B, D] (arXiv 2103.00020, figure 3).

    negatives: [K, D], additional negatives for the rows of `a`.
    same: bool [B, B], pairs of rows with the same content; they are not used as negatives.
    """
    own = torch.arange(len(a), device=a.device)
    a_to_b, b_to_a = a @ b.T / temperature, b @ a.T / temperature
    if same is not None:
        ignored = same & (own[:, None] != own)
        a_to_b, b_to_a = (logits.masked_fill(ignored, -torch.inf) for logits in (a_to_b, b_to_a))
    if negatives is not None:
        a_to_b = torch.cat([a_to_b, a @ negatives.T / temperature], 1)
    return (F.cross_entropy(a_to_b, own) + F.cross_entropy(b_to_a, own)) / 2
