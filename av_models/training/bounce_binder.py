"""The stage that trains Bounce-Bind: pictures, sounds and captions of the same clip close, of other clips apart."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..binders.bounce_bind import RATE, BounceBind
from ..bounce.captions import VOCABULARY, captions
from ..bounce.render import render
from ..bounce.sound import render_sound
from ..bounce.world import FPS, FRAMES, simulate
from ..checkpoint import half, save_checkpoint
from .flow import device_of, draws

EVERY = 4  # frames of a clip that are kept
PAIRS = ((0, 1), (0, 2), (1, 3))  # picture and sound, picture and its words, sound and its words


class BinderStage:
    """Clips are rendered in pools; noise is laid over them, so that a decoded clip is embedded as a true one is."""

    rank = 0

    def __init__(self, config: dict[str, Any], out: Path) -> None:
        self.batch, self.clips, self.reuse = config["batch"], config["clips_per_pool"], config["steps_per_pool"]
        self.size, self.noise, self.out = config["size"], config["noise"], out
        self.model = BounceBind(list(VOCABULARY), **config["model"])

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> tuple[Tensor, Tensor, list[str], list[str]]:
        worlds = simulate(self.clips, "train", seed=index)
        frames = torch.from_numpy(render(worlds, self.size)[:, :FRAMES:EVERY].copy())
        return frames, torch.from_numpy(render_sound(worlds)), *captions(worlds, index)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        frames, sounds, seen, heard = self.pool(step // self.reuse)
        rows = draws(step, 8, self.rank).integers(0, len(frames), self.batch)
        device = device_of(self.model)
        pictures = frames[rows].to(device).float() / 255
        waves = sounds[rows][:, None].to(device)
        embedded = (
            self.model.embed_video(self._noisy(pictures, self.noise), FPS / EVERY),
            self.model.embed_audio(self._noisy(waves, self.noise / 10), RATE),
            self.model.embed_text([seen[row] for row in rows]),
            self.model.embed_text([heard[row] for row in rows]),
        )
        losses = [contrast(embedded[a], embedded[b], self.model.temperature.exp()) for a, b in PAIRS]
        names = ("picture_sound", "picture_words", "sound_words")
        total = sum(losses)
        return total, {"loss": total.item()} | {name: loss.item() for name, loss in zip(names, losses)}

    def _noisy(self, x: Tensor, most: float) -> Tensor:
        """Each row with as much noise as chance has it, up to `most`."""
        level = most * torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        return x + level * torch.randn_like(x)

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {"kind": "binder", "architecture": "BounceBind", "config": model.config, "trained": True, "run": run,
                "licence": "Apache-2.0"}  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def contrast(a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
    """Symmetric InfoNCE of rows that belong together (arXiv 2103.00020, figure 3)."""
    logits = a @ b.T / temperature
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
