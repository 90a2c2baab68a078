"""The stage that trains Bounce-Bind: pictures, sounds and captions of the same clip close, of other clips apart."""

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
from ..binder import RATE, BounceBind
from ..world.captions import VOCABULARY, captions
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import FPS, FRAMES, Worlds, simulate

EVERY = 4  # frames of a clip that are kept
LOUDEST_GAIN = 30.0  # of a sound that is spoiled


class BinderStage:
    """Clips are rendered in pools. Noise is laid over them, up to so much that what is faint is lost in it: a binder that
    hangs on what cannot be seen or heard is moved towards by just that."""

    rank = 0

    def __init__(self, config: dict[str, Any], out: Path) -> None:
        self.batch, self.clips, self.reuse = config["batch"], config["clips_per_pool"], config["steps_per_pool"]
        self.size, self.out = config["size"], out
        self.picture_noise, self.sound_noise = config["picture_noise"], config["sound_noise"]
        self.model = BounceBind(list(VOCABULARY), **config["model"])

    @lru_cache(maxsize=1)
    def worlds(self, index: int) -> Worlds:
        return simulate(self.clips, "train", seed=index)

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> tuple[Tensor, Tensor, list[str], list[str]]:
        worlds = self.worlds(index)
        frames = torch.from_numpy(render(worlds, self.size)[:, :FRAMES:EVERY].copy())
        return frames, torch.from_numpy(render_sound(worlds)), *captions(worlds, index)

    def drawn(self, step: int) -> tuple[np.ndarray, Tensor, Tensor, list[str], list[str]]:
        """A batch: its rows in the pool, pictures [B, F, H, W, 3], sounds [B, 1, samples], and what is said of either."""
        frames, sounds, seen, heard = self.pool(step // self.reuse)
        rows, device = batch_generator(step, 8, self.rank).integers(0, len(frames), self.batch), device_of(self.model)
        pictures, waves = frames[rows].to(device).float() / 255, sounds[rows][:, None].to(device)
        return rows, pictures, waves, [seen[row] for row in rows], [heard[row] for row in rows]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        _, pictures, waves, seen, heard = self.drawn(step)
        embedded = (
            self.model.embed_video(self._noisy(pictures, self.picture_noise), FPS / EVERY),
            self.model.embed_audio(self._noisy(waves, self.sound_noise), RATE),
            self.model.embed_text(seen),
            self.model.embed_text(heard),
        )
        spoiled = self.model.embed_audio(overdriven(waves), RATE)
        picture, sound, of_picture, of_sound = embedded
        temperature = self.model.temperature.exp()
        losses = {
            "picture_sound": contrast(picture, sound, temperature, spoiled),
            "picture_words": contrast(picture, of_picture, temperature),
            "sound_words": contrast(of_sound, sound, temperature, spoiled),
        }
        return summed(losses)

    def _noisy(self, x: Tensor, most: float) -> Tensor:
        """Each row with as much noise as chance has it, up to `most`."""
        level = most * torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        return x + level * torch.randn_like(x)

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {"kind": "binder", "architecture": "BounceBind", "config": model.config, "trained": True, "run": run,
                "licence": "Apache-2.0"}  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def summed(losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    total = sum(losses.values())
    return total, {"loss": total.item()} | {name: loss.item() for name, loss in losses.items()}


def overdriven(waves: Tensor) -> Tensor:
    """Each row [C, samples] as loud as chance has it for a while, and clipped: what must not pass for it, though its partials
    are all there. A latent that is moved too far sounds like this."""
    rows, samples = len(waves), waves.shape[-1]
    start, length = torch.rand(2, rows, 1, 1, device=waves.device)
    at = torch.linspace(0, 1, samples, device=waves.device)
    gain = 2 * (LOUDEST_GAIN / 2) ** torch.rand(rows, 1, 1, device=waves.device)
    return torch.where((at >= start * 0.9) & (at < start * 0.9 + 0.1 + length), waves * gain, waves).clamp(-1, 1)


def contrast(a: Tensor, b: Tensor, temperature: Tensor, not_b: Tensor | None = None, same: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of rows that belong together (arXiv 2103.00020, figure 3). `not_b`: what `a` must not be taken for.
    `same` [rows, rows]: rows that cannot be told apart, and are not."""
    own = torch.arange(len(a), device=a.device)
    there, back = a @ b.T / temperature, b @ a.T / temperature
    if same is not None:
        alike = same & (own[:, None] != own)
        there, back = (of.masked_fill(alike, -torch.inf) for of in (there, back))
    if not_b is not None:
        there = torch.cat([there, a @ not_b.T / temperature], 1)
    return (F.cross_entropy(there, own) + F.cross_entropy(back, own)) / 2
