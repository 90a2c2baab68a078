"""The stage that trains a robust Bounce-Bind with adversarial examples (arXiv 1706.06083).

An aligner changes latents along the gradient of the binder, and can find latents with a high score that sound wrong.
Adversarial training in the latent space of the codec makes such latents rarer.
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
from ...av_models.training.flow import add_noise
from ..binder import load_bounce_bind
from ..binder_audio import RATE
from ..measure.agreement import true_kinds
from ..world.captions import A_BALL_BOUNCING
from ..world.world import FPS, MATERIALS, SIZES
from .binder_stage import EVERY, BinderStage, contrastive_loss, overdrive, total_loss

ESTIMATE_STEPS = 3
STEP_SIZE = 0.8  # of an attack step, relative to the largest distance allowed


class RobustBinderStage(BinderStage):
    """Trains as `BinderStage`, with three more kinds of audio. Clips of the same kinds of balls are not negatives of each other.

    Attacked: the latent is moved away from its video or towards the video of another clip.
    Estimated: the T2A expert denoises the noised latent, as in an aligner. These are attacked too.
    Spliced: part of the sound is replaced by a clip with other balls. These are negatives.

    config: as for `BinderStage`, and attack: `moves` (steps) and `far` (largest distance, RMS, in latents with RMS 1);
        estimates: the largest timestep from which the first half of a batch is estimated, 0 for none.
    codec, expert: files of the audio codec and the audio expert. start: a trained Bounce-Bind to start from.
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
        """Returns the kinds of balls in each clip of a pool as a bit mask, [clips]."""
        worlds, bits = self.worlds(index), [(size, m) for size in SIZES for m in MATERIALS]
        return torch.tensor([sum(1 << bits.index(kind) for kind in true_kinds(worlds, row)) for row in range(len(worlds))])

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows, frames, waves, video_captions, audio_captions = self.draw_batch(step)
        device, model = waves.device, self.model
        for frozen in (self.codec, self.expert, self.words):
            frozen.to(device)
        kinds = self.kinds(step // self.reuse)[rows].to(device)
        same = kinds[:, None] == kinds[None]
        video = model.embed_video(self._add_noise(frames, self.picture_noise), FPS / EVERY)
        video_text, audio_text = model.embed_text(video_captions), model.embed_text(audio_captions)
        temperature = model.temperature.exp()
        latent = self.codec.encode(waves)
        half = self.batch // 2 if self.noise else 0
        latent = torch.cat([self._estimate_clean(latent[:half]), latent[half:]])
        attacked = model.embed_audio(self._attack(latent, video.detach(), temperature.detach()), RATE)
        audio = model.embed_audio(self._add_noise(waves, self.sound_noise), RATE)
        spliced = self.codec.decode_with_grad(self.codec.encode(splice_sounds(waves, kinds)))
        negatives = torch.cat([model.embed_audio(overdrive(waves), RATE), model.embed_audio(spliced, RATE)])
        losses = {
            "picture_sound": contrastive_loss(video, audio, temperature, negatives, same),
            "picture_words": contrastive_loss(video, video_text, temperature, None, same),
            "sound_words": contrastive_loss(audio_text, audio, temperature, negatives, same),
            "picture_attacked": contrastive_loss(video, attacked, temperature, negatives, same),
            "attacked_words": contrastive_loss(audio_text, attacked, temperature, negatives, same),
        }
        return total_loss(losses)

    @torch.no_grad()
    def _estimate_clean(self, latent: Tensor) -> Tensor:
        """Adds noise to latents [B, C, T] at random timesteps, and denoises them with the expert in a few Euler steps."""
        rows = len(latent)
        if not rows:
            return latent
        t = self.noise * torch.rand(rows, device=latent.device)
        x, _ = add_noise(latent, t)
        condition: Condition = self.words([A_BALL_BOUNCING]).expand(rows)
        for left in range(ESTIMATE_STEPS, 0, -1):
            step = t / left
            x, t = x - step[:, None, None] * self.expert(x, t, condition), t - step
        return x

    def _attack(self, latent: Tensor, video: Tensor, temperature: Tensor) -> Tensor:
        """Moves latents [B, C, T] along the gradient of the binder and decodes them as [B, 1, samples].

        A random half of the rows moves away from its own video, the other half towards the video of another clip.
        """
        rows, own = len(latent), torch.arange(len(latent), device=latent.device)
        far, start, towards = (torch.rand(rows, 1, 1, device=latent.device) for _ in range(3))
        far = self.far * far
        offset = torch.randn_like(latent)
        offset = far * start * offset / rms(offset)
        self.model.requires_grad_(False)
        for _ in range(self.moves):
            offset.requires_grad_()
            logits = self.model.embed_audio(self.codec.decode_with_grad(latent + offset), RATE) @ video.T / temperature
            away, other = (F.cross_entropy(logits, target, reduction="none") for target in (own, own.roll(1)))
            (gradient,) = torch.autograd.grad(torch.where(towards[:, 0, 0] < 0.5, -other, away).sum(), offset)
            offset = offset.detach() + far * STEP_SIZE * gradient / rms(gradient)
            offset = offset * (far / rms(offset)).clamp(max=1)
        self.model.requires_grad_(True)
        return self.codec.decode_with_grad(latent + offset).detach()


def splice_sounds(waves: Tensor, kinds: Tensor) -> Tensor:
    """Replaces the start or the end of each row of `waves` [B, C, samples] by a row with other `kinds` [B], if there is one."""
    rows, device = len(waves), waves.device
    others = (kinds[:, None] != kinds).float()
    others = torch.where(others.any(1, keepdim=True), others, torch.ones_like(others))
    other = torch.multinomial(others, 1)[:, 0]
    at, cut = torch.linspace(0, 1, waves.shape[-1], device=device), 0.2 + 0.6 * torch.rand(rows, 1, 1, device=device)
    late = ((at - cut) / 0.01).clamp(0, 1)
    share = torch.where(torch.rand(rows, 1, 1, device=device) < 0.5, late, 1 - late)
    return (1 - share) * waves + share * waves[other]
