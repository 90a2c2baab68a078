"""Batches of sounding clips for any joint model with one time t of flow matching.

Every row of the batch of all processes together has a random generator of its own, of (seed, step, row). So a step sees the same
rows and noise on one process as on several, and after it was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..contract import AVCondition, AVLatent, CouplingKind
from ..known_parts import KnownMode, KnownParts
from .coupled_rows import coupled_rows, null_rows
from .latent_shards import TrainingClips
from .processes import processes


@dataclass(frozen=True)
class BatchSettings:
    """What the rows of a batch are, for each process.

    batch: rows. cut, removed: rows with that coupling. first_frame: rows with a given first frame, which are fully coupled.
    dropout: the share of the other rows without their prompts. loc, scale: of the logit-normal distribution of t.
    modes: how the model takes known parts of video and audio.
    """

    batch: int
    cut: int = 0
    removed: int = 0
    first_frame: int = 0
    dropout: float = 0.1
    loc: float = 0.0
    scale: float = 1.0
    modes: tuple[KnownMode, KnownMode] = ("renoised", "renoised")


@dataclass(frozen=True)
class PairBatch:
    """The rows of one process.

    clean, noise: latents in float32. t: [B] in 0..1. kinds: the coupling of each row.
    first: bool [B], rows whose first latent frame is given.
    """

    clean: AVLatent
    noise: AVLatent
    t: Tensor
    cond: AVCondition
    kinds: list[CouplingKind]
    first: Tensor
    modes: tuple[KnownMode, KnownMode]

    def to(self, device: torch.device) -> PairBatch:
        clean, noise, t, cond = self.clean.to(device), self.noise.to(device), self.t.to(device), self.cond.to(device)
        return PairBatch(clean, noise, t, cond, self.kinds, self.first.to(device), self.modes)

    def noisy(self) -> AVLatent:
        """Return x_t = (1 − t) x_0 + t ε."""
        t = self.t
        return AVLatent(
            *(torch.lerp(x, e, t.view(-1, *[1] * (x.ndim - 1))) for x, e in zip(_parts(self.clean), _parts(self.noise)))
        )

    def known(self) -> KnownParts:
        """Return the given first frames as known parts."""
        video, audio = self.clean.video, self.clean.audio
        mask = self.first.view(-1, 1, 1, 1, 1) & (torch.arange(video.shape[2], device=video.device) == 0).view(1, 1, -1, 1, 1)
        return KnownParts(self.clean, AVLatent(mask, audio.new_zeros((1,) * audio.ndim, dtype=torch.bool)), *self.modes)


def draw_batch(data: TrainingClips, settings: BatchSettings, seed: int, step: int) -> PairBatch:
    """Draw the rows of this process, on the CPU."""
    state = processes()
    world, rank = state.num_processes, state.process_index
    kinds = coupled_rows(*(world * count for count in (settings.batch, settings.cut, settings.removed)))
    null, own = null_rows(kinds, step), range(rank, world * settings.batch, world)
    draws = [_Draw(len(data), settings, seed, step, row) for row in own]
    rows = torch.tensor([draw.clip for draw in draws])
    clean = data.latents(rows)
    dropped = torch.tensor([draw.dropped for draw in draws]) & torch.tensor([kinds[row] is CouplingKind.FULL for row in own])
    first = torch.tensor([row < world * settings.first_frame for row in own])
    cond = data.conditions(rows, null[list(own)] | dropped)
    noise = AVLatent(*(torch.stack([draw.noise(x) for draw in draws]) for x in _parts(clean)))
    t = torch.tensor([draw.t for draw in draws])
    return PairBatch(clean, noise, t, cond, [kinds[row] for row in own], first, settings.modes)


class _Draw:
    """The random draws of one row, in this order: clip, dropout, t, noise of video, noise of audio."""

    def __init__(self, clips: int, settings: BatchSettings, seed: int, step: int, row: int) -> None:
        number = int(np.random.SeedSequence([seed, step, row]).generate_state(1, np.uint64)[0] >> 1)
        self.generator = torch.Generator().manual_seed(number)
        self.clip = int(torch.randint(clips, (), generator=self.generator))
        self.dropped = bool(torch.rand((), generator=self.generator) < settings.dropout)
        normal = torch.randn((), generator=self.generator)
        self.t = float(torch.sigmoid(settings.loc + settings.scale * normal))

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape[1:], generator=self.generator)


def _parts(latent: AVLatent) -> tuple[Tensor, Tensor]:
    return latent.video, latent.audio
