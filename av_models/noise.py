"""Noise that is drawn separately for each latent frame, from (seed, modality, batch row, frame, draw).

A longer clip starts with the noise of a shorter one, and row 0 of a batch has the same noise as a batch of one.
The generator is Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): its key and counter give
every frame an independent random stream. `torch.Generator` on the CPU keeps only 32 bits of such a key.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .contract import AVLatent, LatentShape

VIDEO, AUDIO = 1, 2
MAX_SEED = 2**64 - 1
Seed = int | list[int]
"""The seed of a batch, or a list with one seed per row. With a list, each row has the noise of a batch of one with its seed."""


@dataclass(frozen=True)
class NoiseSource:
    """The source of the noise of a sampling run.

    shape: the shapes of the latents, or the initial noise itself.
    video_seed, audio_seed: 0 to 2⁶⁴ − 1; one seed for the batch, or a list with one per row.
    """

    shape: LatentShape | AVLatent
    video_seed: Seed = 0
    audio_seed: Seed = 0

    def initial(self, device: torch.device) -> AVLatent:
        """Return the initial noise, standard normal, float32 on `device`. If `shape` is noise, it is returned unchanged."""
        return self.shape if isinstance(self.shape, AVLatent) else self._draw(self.shape, device, 0)

    def fresh(self, like: AVLatent, draw: int) -> AVLatent:
        """Draw new noise of the size of `like`, independent for each number `draw` ≥ 1."""
        return self._draw(LatentShape(tuple(like.video.shape), tuple(like.audio.shape)), like.video.device, draw)

    def _draw(self, shape: LatentShape, device: torch.device, draw: int) -> AVLatent:
        video, audio = video_noise(shape.video, self.video_seed, draw), audio_noise(shape.audio, self.audio_seed, draw)
        return AVLatent(video.to(device), audio.to(device))


def video_noise(shape: Sequence[int], seed: Seed, draw: int = 0) -> Tensor:
    """Draw standard normal noise [B, C, T, H, W] on the CPU, float32; one random stream per latent frame.

    draw: 0 for the initial noise, n for the new noise of step n, counted from 1.
    Raises ValueError unless a seed is a whole number from 0 to 2⁶⁴ − 1.
    """
    return _noise(shape, seed, VIDEO, draw)


def audio_noise(shape: Sequence[int], seed: Seed, draw: int = 0) -> Tensor:
    """Draw audio noise [B, C, T] or [B, C, T, F] as `video_noise` does; one random stream per latent step."""
    return _noise(shape, seed, AUDIO, draw)


def step_generator(seed: Seed, modality: int) -> torch.Generator | list[torch.Generator]:
    """Return the CPU generator for a stochastic scheduler of one modality (`VIDEO` or `AUDIO`); a list for a list of seeds."""
    return [_generator(each, modality) for each in seed] if isinstance(seed, list) else _generator(seed, modality)


def _generator(seed: int, modality: int) -> torch.Generator:
    bits = _philox(seed, modality)
    bits.advance(2**255)  # far beyond any row of the initial noise
    return torch.Generator().manual_seed(int(bits.random_raw()))


def check_seed(seed: int, name: str = "seed") -> int:
    """Return the seed as int. Raises ValueError unless it is a whole number from 0 to 2⁶⁴ − 1."""
    if not isinstance(seed, numbers.Integral) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} is {seed}; use a whole number from 0 to {MAX_SEED}")
    return int(seed)


def _philox(seed: int, modality: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([check_seed(seed), modality], dtype=np.uint64))


def _noise(shape: Sequence[int], seed: Seed, modality: int, draw: int) -> Tensor:
    rows, channels, frames, *rest = shape
    if isinstance(seed, list):
        if len(seed) != rows:
            raise ValueError(f"there are {len(seed)} seeds for {rows} clips; use one seed per clip, or one for all")
        return torch.cat([_noise((1, *shape[1:]), each, modality, draw) for each in seed])
    bits = _philox(seed, modality)
    fresh, normal = bits.state, np.random.Generator(bits).standard_normal
    noise = np.empty((rows, frames, channels, *rest), dtype=np.float32)
    for row in range(rows):
        for frame in range(frames):
            fresh["state"]["counter"][:] = (0, draw, frame, row)
            bits.state = fresh
            normal(dtype=np.float32, out=noise[row, frame])
    return torch.from_numpy(noise).movedim(1, 2).contiguous()
