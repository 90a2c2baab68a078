"""The stage that makes Bounce-Bind hard to fool: what it is taught with are sounds that were made to fool it.

An aligner moves a sound's latent by what the binder says, and finds what pleases the binder before it finds what is right. So
the binder learns from its own mistakes (adversarial training, arXiv 1706.06083), in the codec's latents, where aligners move.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...av_models.contract import Condition
from ...av_models.latent_moves import rms
from ...av_models.load_parts import load_codec, load_expert
from ...av_models.training.flow import noised
from ..binder import RATE, load_bounce_bind
from ..measure.agreement import true_kinds
from ..world.captions import A_BALL_BOUNCING
from ..world.world import FPS, MATERIALS, SIZES
from .binder_stage import EVERY, BinderStage, contrast, overdriven, summed

ESTIMATE_STEPS = 3
REACH = 0.8  # of the distance allowed, in one move


class RobustBinderStage(BinderStage):
    """As `BinderStage`, from a trained binder (`start`) or from nothing, with three more kinds of sound. *Attacked*: its latent
    moved, away from its picture or towards another's. *Estimated*: what the T2A expert makes of it from somewhere on its way
    from noise, which is what an aligner shows; these are attacked too. *Half right*: from some time on, of other balls. Clips
    of the same balls are not told apart.

    attack: `moves`, and how far (`far`, rms of a latent whose own is 1) they may lead. estimates: the share of noise up to
    which the first half of a batch is estimated, 0 for none.
    """

    def __init__(self, config: dict[str, Any], codec: Path, expert: Path, out: Path, start: Path | None = None) -> None:
        super().__init__(config, out)
        if start:
            self.model.load_state_dict(load_bounce_bind(start).state_dict())
        self.moves, self.far, self.noise = config["attack"]["moves"], config["attack"]["far"], config["estimates"]
        self.codec = load_codec(codec)
        expert, words, _ = load_expert(expert)
        self.expert, self.words = expert.eval().requires_grad_(False), words

    @lru_cache(maxsize=1)
    def kinds(self, index: int) -> Tensor:
        """Which balls are in each clip of a pool, as bits."""
        worlds, bits = self.worlds(index), [(size, m) for size in SIZES for m in MATERIALS]
        return torch.tensor([sum(1 << bits.index(kind) for kind in true_kinds(worlds, row)) for row in range(len(worlds))])

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows, pictures, waves, seen, heard = self.drawn(step)
        device, model = waves.device, self.model
        for frozen in (self.codec, self.expert, self.words):
            frozen.to(device)
        kinds = self.kinds(step // self.reuse)[rows].to(device)
        same = kinds[:, None] == kinds[None]
        picture = model.embed_video(self._noisy(pictures, self.picture_noise), FPS / EVERY)
        of_picture, of_sound = model.embed_text(seen), model.embed_text(heard)
        temperature = model.temperature.exp()
        latent = self.codec.encode(waves)
        half = self.batch // 2 if self.noise else 0
        latent = torch.cat([self._estimated(latent[:half]), latent[half:]])
        attacked = model.embed_audio(self._attacked(latent, picture.detach(), temperature.detach()), RATE)
        clean = model.embed_audio(self._noisy(waves, self.sound_noise), RATE)
        half_right = self.codec.render(self.codec.encode(spliced(waves, kinds)))
        wrong = torch.cat([model.embed_audio(overdriven(waves), RATE), model.embed_audio(half_right, RATE)])
        losses = {
            "picture_sound": contrast(picture, clean, temperature, wrong, same),
            "picture_words": contrast(picture, of_picture, temperature, None, same),
            "sound_words": contrast(of_sound, clean, temperature, wrong, same),
            "picture_attacked": contrast(picture, attacked, temperature, wrong, same),
            "attacked_words": contrast(of_sound, attacked, temperature, wrong, same),
        }
        return summed(losses)

    @torch.no_grad()
    def _estimated(self, latent: Tensor) -> Tensor:
        """What the expert makes of latents [B, C, T] from somewhere on their way: a few Euler steps to the clean end."""
        rows = len(latent)
        if not rows:
            return latent
        t = self.noise * torch.rand(rows, device=latent.device)
        x, _ = noised(latent, t)
        told: Condition = self.words([A_BALL_BOUNCING]).spread(rows)
        for left in range(ESTIMATE_STEPS, 0, -1):
            step = t / left
            x, t = x - step[:, None, None] * self.expert(x, t, told), t - step
        return x

    def _attacked(self, latent: Tensor, picture: Tensor, temperature: Tensor) -> Tensor:
        """Sounds [B, 1, samples] of latents that were moved, by what the binder says, away from their own picture or (every
        other row, by chance) towards another's."""
        rows, own = len(latent), torch.arange(len(latent), device=latent.device)
        far, start, towards = (torch.rand(rows, 1, 1, device=latent.device) for _ in range(3))
        far = self.far * far
        offset = torch.randn_like(latent)
        offset = far * start * offset / rms(offset)
        self.model.requires_grad_(False)
        for _ in range(self.moves):
            offset.requires_grad_()
            said = self.model.embed_audio(self.codec.render(latent + offset), RATE) @ picture.T / temperature
            away, other = (F.cross_entropy(said, which, reduction="none") for which in (own, own.roll(1)))
            (gradient,) = torch.autograd.grad(torch.where(towards[:, 0, 0] < 0.5, -other, away).sum(), offset)
            offset = offset.detach() + far * REACH * gradient / rms(gradient)
            offset = offset * (far / rms(offset)).clamp(max=1)
        self.model.requires_grad_(True)
        return self.codec.render(latent + offset).detach()


def spliced(waves: Tensor, kinds: Tensor) -> Tensor:
    """[B, C, samples], each up to some time, or from it on, another's of other balls where there is one."""
    rows, device = len(waves), waves.device
    others = (kinds[:, None] != kinds).float()
    others = torch.where(others.any(1, keepdim=True), others, torch.ones_like(others))
    other = torch.multinomial(others, 1)[:, 0]
    at, cut = torch.linspace(0, 1, waves.shape[-1], device=device), 0.2 + 0.6 * torch.rand(rows, 1, 1, device=device)
    late = ((at - cut) / 0.01).clamp(0, 1)
    share = torch.where(torch.rand(rows, 1, 1, device=device) < 0.5, late, 1 - late)
    return (1 - share) * waves + share * waves[other]
