"""Noise: drawn per latent frame, keyed by (seed, modality, batch row, frame, draw). Draw 0 is what sampling starts from.

A longer clip keeps the noise of the part it shares with a shorter one, and row 0 of a batch is the batch of one.
Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is keyed and counted, so every
frame has a stream of its own. `torch.Generator` on the CPU would keep only 32 bits of such a key.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

VIDEO, AUDIO = 1, 2
MAX_SEED = 2**64 - 1
Seed = int | list[int]  # of a batch, or of each of its rows: what the batch of one of that seed gets


def video_noise(shape: Sequence[int], seed: Seed, draw: int = 0) -> Tensor:
    """Standard normal noise on the CPU, float32. `shape`: [B, C, T, H, W]; one stream per latent frame of T.

    Raises ValueError if a seed is no whole number from 0 to 2⁶⁴ − 1.
    """
    return _noise(shape, seed, VIDEO, draw)


def audio_noise(shape: Sequence[int], seed: Seed, draw: int = 0) -> Tensor:
    """As `video_noise` for a sound. `shape`: [B, C, T] or [B, C, T, F]; one stream per latent step of T."""
    return _noise(shape, seed, AUDIO, draw)


def step_generator(seed: Seed, modality: int) -> torch.Generator | list[torch.Generator]:
    """What a stochastic scheduler draws from: a CPU generator for one modality (`VIDEO` or `AUDIO`), or one for each row."""
    if isinstance(seed, list):
        return [step_generator(each, modality) for each in seed]
    bits = _philox(seed, modality)
    bits.advance(2**255)  # far beyond any row of the initial noise
    return torch.Generator().manual_seed(int(bits.random_raw()))


def check_seed(seed: int, name: str = "seed") -> int:
    if not isinstance(seed, numbers.Integral) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} is {seed}; give a whole number from 0 to {MAX_SEED}")
    return int(seed)


def _philox(seed: int, modality: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([check_seed(seed), modality], dtype=np.uint64))


def _noise(shape: Sequence[int], seed: Seed, modality: int, draw: int) -> Tensor:
    rows, channels, frames, *rest = shape
    if isinstance(seed, list):
        if len(seed) != rows:
            raise ValueError(f"there are {len(seed)} seeds for {rows} clips; give one for each, or one for all")
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
