"""The stage that trains Bounce-Bind Times: video and audio are contrasted as clips, and as tracks in time.

Everything is a window of a clip. A sound whose window begins at another frame is a negative of its own video: all of it is right
but the time.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...av_models.binders.base import Embedded
from ...av_models.checkpoint import half, save_checkpoint
from ...av_models.contract import Condition
from ...av_models.latent_moves import rms
from ...av_models.load_parts import load_codec, load_expert
from ...av_models.training.flow import add_noise, batch_generator, device_of
from ..binder_audio import RATE
from ..binder_in_time import BounceBindTimes
from ..measure.agreement import true_kinds
from ..world.captions import A_BALL_BOUNCING
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import FPS, FRAMES, MATERIALS, SIZES, Worlds, simulate
from .binder_stage import contrastive_loss, overdrive, total_loss
from .robust_binder_stage import ESTIMATE_STEPS, STEP_SIZE

HOP = RATE // FPS  # samples of a frame
FEW = 4  # a batch has as many times fewer sounds from latents


class Windows(NamedTuple):
    """frames: [B, window, H, W, 3]. sounds: [B, 1, samples], of the same times. late: [shifts · B, 1, samples], of other times.

    kinds: [B], of the balls, as bits.
    """

    frames: Tensor
    sounds: Tensor
    late: Tensor
    kinds: Tensor


class BinderInTimeStage:
    """Trains Bounce-Bind Times from scratch, on clips that are rendered in pools.

    Of the first quarter of each batch, sounds are also decoded from latents, half of them after the audio expert has denoised
    them, as in an aligner. These latents are attacked: right sounds are moved away from their video, and sounds of other
    times towards it.

    config: `stage_config`. codec, expert: files of the audio codec and the audio expert. out: path of the checkpoint.
    """

    rank = 0

    def __init__(self, config: dict[str, Any], codec: Path, expert: Path, out: Path) -> None:
        self.batch, self.clips, self.reuse = config["batch"], config["clips_per_pool"], config["steps_per_pool"]
        self.size, self.window, self.shifts, self.out = config["size"], config["window"], config["shifts"], out
        self.picture_noise, self.sound_noise = config["picture_noise"], config["sound_noise"]
        self.moves, self.far, self.noise = config["attack"]["moves"], config["attack"]["far"], config["estimates"]
        self.model = BounceBindTimes(**config["model"])
        self.codec = load_codec(codec)
        loaded, words, _ = load_expert(expert)
        self.expert = loaded.eval().requires_grad_(False)
        self.prompt: Condition = words([A_BALL_BOUNCING])

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Renders the frames and the waveforms of a pool; with the kinds of balls as bits."""
        worlds = simulate(self.clips, "train", seed=index)
        frames = torch.from_numpy(render(worlds, self.size)[:, :FRAMES].copy())
        return frames, torch.from_numpy(render_sound(worlds)), _kinds(worlds)

    def draw_windows(self, step: int) -> Windows:
        """Draws the windows of a batch."""
        frames, sounds, kinds = self.pool(step // self.reuse)
        draw, device = batch_generator(step, 9, self.rank), device_of(self.model)
        rows = draw.integers(0, len(frames), self.batch)
        starts = draw.permuted([list(range(FRAMES - self.window + 1))] * self.batch, axis=1).T
        shown = torch.stack([frames[row, at : at + self.window] for row, at in zip(rows, starts[0])])
        places = [(row, at * HOP) for begin in starts[: 1 + self.shifts] for row, at in zip(rows, begin)]
        heard = torch.stack([sounds[row, None, at : at + self.window * HOP] for row, at in places])
        own, late = heard.to(device).split([self.batch, self.shifts * self.batch])
        return Windows(shown.to(device).float() / 255, own, late, kinds[rows].to(device))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        drawn, model = self.draw_windows(step), self.model
        same = drawn.kinds[:, None] == drawn.kinds[None]
        seen = model.embed_video_times(_add_noise(drawn.frames, self.picture_noise), FPS)
        own, late, loud, attacked = self._hear(drawn, seen)
        what, when = model.temperature.exp()
        video, others = _course(seen), torch.cat([_course(late), _course(loud)])
        few = slice(self.batch // FEW)
        losses = {
            "what": contrastive_loss(seen.embedding, own.embedding, what, loud.embedding, same),
            "when": contrastive_loss(video, _course(own), when, others),
        }
        if attacked is not None:
            right, wrong = attacked.embedding.chunk(2)[0], _course(attacked).chunk(2)
            losses |= {
                "what_attacked": contrastive_loss(seen.embedding[few], right, what, loud.embedding, same[few, few]),
                "when_attacked": contrastive_loss(video[few], wrong[0], when, torch.cat([others, wrong[1]])),
            }
        return total_loss(losses)

    def _hear(self, drawn: Windows, seen: Embedded) -> tuple[Embedded, Embedded, Embedded, Embedded | None]:
        """Embeds the right sounds, those of other times, overdriven ones, and attacked ones (half of them right)."""
        sounds = [_add_noise(torch.cat([drawn.sounds, drawn.late]), self.sound_noise), overdrive(drawn.sounds[: self.batch // FEW])]
        if self.moves:
            few = self.batch // FEW
            sounds.append(self._attack(torch.cat([drawn.sounds[:few], drawn.late[:few]]), seen, few))
        heard = self.model.embed_audio_times(torch.cat(sounds), RATE)
        counts = [self.batch, len(drawn.late), *(len(sound) for sound in sounds[1:])]
        track = heard.tracks[0]
        parts = [
            Embedded(embedding, (type(track)(features, track.seconds, track.duration),))
            for embedding, features in zip(heard.embedding.split(counts), track.features.split(counts))
        ]
        return parts[0], parts[1], parts[2], parts[3] if self.moves else None

    def _attack(self, sounds: Tensor, seen: Embedded, few: int) -> Tensor:
        """Moves the latents of sounds [2 · few, 1, samples] along the gradient of the binder, and decodes them.

        The first half moves away from its own video, the other half, of other times, towards it.
        """
        what, when = self.model.temperature.detach().exp()
        video, embedding = _course(seen)[:few].detach(), seen.embedding[:few].detach()
        with torch.autocast(sounds.device.type, enabled=False):
            latent = self.codec.to(sounds.device).encode(sounds)
            latent = torch.cat([self._estimate(latent[::2]), latent[1::2]])[_interleaved(len(latent))]
            far, start = torch.rand(2, len(latent), 1, 1, device=latent.device)
            far, offset = self.far * far, torch.randn_like(latent)
            offset = far * start * offset / rms(offset)
        sign = torch.tensor([-1.0] * few + [1.0] * few, device=latent.device)
        self.model.requires_grad_(False)
        for _ in range(self.moves):
            offset.requires_grad_()
            heard = self.model.embed_audio_times(self._decode(latent + offset), RATE)
            alike = (_course(heard) * video.repeat(2, 1)).sum(1) / when
            alike = alike + (heard.embedding * embedding.repeat(2, 1)).sum(1) / what
            (gradient,) = torch.autograd.grad((sign * alike).sum(), offset)
            offset = offset.detach() + far * STEP_SIZE * gradient / rms(gradient)
            offset = offset * (far / rms(offset)).clamp(max=1)
        self.model.requires_grad_(True)
        return self._decode(latent + offset).detach()

    def _decode(self, latent: Tensor) -> Tensor:
        with torch.autocast(latent.device.type, enabled=False):
            return self.codec.decode_with_grad(latent)

    @torch.no_grad()
    def _estimate(self, latent: Tensor) -> Tensor:
        """Adds noise to latents [B, C, T] at random times of the flow, and denoises them with the expert in a few Euler steps."""
        rows = len(latent)
        t = self.noise * torch.rand(rows, device=latent.device)
        x, _ = add_noise(latent, t)
        condition, expert = self.prompt.to(latent.device).expand(rows), self.expert.to(latent.device)
        for left in range(ESTIMATE_STEPS, 0, -1):
            step = t / left
            x, t = x - step[:, None, None] * expert(x, t, condition), t - step
        return x

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {"kind": "binder", "architecture": "BounceBindTimes", "config": model.config, "trained": True, "run": run,
                "licence": "Apache-2.0"}  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def _kinds(worlds: Worlds) -> Tensor:
    """Returns the kinds of balls in each clip as bits, [clips]."""
    bits = [(size, material) for size in SIZES for material in MATERIALS]
    return torch.tensor([sum(1 << bits.index(kind) for kind in true_kinds(worlds, row)) for row in range(len(worlds))])


def _course(of: Embedded) -> Tensor:
    """Returns [B, steps · D] of unit length, whose products are the correlations of tracks (see `time_distance`)."""
    features = of.tracks[0].features
    return F.normalize((features - features.mean(1, keepdim=True)).flatten(1), dim=-1)


def _interleaved(count: int) -> Tensor:
    """Returns the places, in the even rows followed by the odd ones, of all rows in their order."""
    evens = -(-count // 2)
    return torch.tensor([row // 2 if row % 2 == 0 else evens + row // 2 for row in range(count)])


def _add_noise(x: Tensor, most: float) -> Tensor:
    """Adds noise to each row, with a random level up to `most`."""
    level = most * torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
    return x + level * torch.randn_like(x)
