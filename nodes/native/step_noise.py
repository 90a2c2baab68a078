"""Noise that ComfyUI's samplers draw while they run, separately for the video and the audio."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .noise import SeedPair, draw_streams, time_axis

Shapes = Sequence[Sequence[int]]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]
"""Returns the noise of the step from one σ to the next, of the size of the sampler's latent."""

BROWNIAN = frozenset(
    f"sample_dpmpp_{solver}{device}" for solver in ("sde", "2m_sde", "2m_sde_heun", "3m_sde") for device in ("", "_gpu")
)
"""Sampler functions whose noise is a Brownian motion in σ: the noise of overlapping steps is correlated."""
PASSES_ON = "dpm_adaptive_function"  # takes `noise_sampler` among its other keywords


def with_two_streams(sampler: Any, seed: int | None, shapes: Shapes) -> Any:
    """Returns a copy of a SAMPLER that draws the noise of each stream from its own seed.

    Returns the sampler itself if `seed` is not a SeedPair, or if the sampler draws no noise or has its own noise sampler.
    shapes: of the latents that the sampler gets as one, the video first.
    """
    function, options = getattr(sampler, "sampler_function", None), getattr(sampler, "extra_options", {})
    if not isinstance(seed, SeedPair) or not _takes_noise(function) or options.get("noise_sampler") is not None:
        return sampler

    @functools.wraps(function)
    def sample(model: Any, x: Tensor, sigmas: Tensor, *args: Any, **others: Any) -> Tensor:
        if len(sigmas) > 1:
            others["noise_sampler"] = _noise_sampler(_name(function), x, sigmas, seed, shapes)
        return function(model, x, sigmas, *args, **others)

    changed = copy.copy(sampler)
    changed.sampler_function = sample
    return changed


def shuffle_apart(options: dict[str, Any], seed: int | None, shapes: Shapes) -> dict[str, Any]:
    """Returns model options under which FreeNoise, of ComfyUI's context windows, shuffles each stream by its own seed."""
    handler = options.get("context_handler")
    if not isinstance(seed, SeedPair) or len(shapes) < 2 or not getattr(handler, "freenoise", False):
        return options

    def shuffle(noise: Tensor, conds: list, _: int) -> Tensor:
        video, audio = (handler._apply_freenoise(noise.clone(), conds, of) for of in (int(seed), seed.audio))
        size = math.prod(shapes[0][1:])
        return torch.cat([video[..., :size], audio[..., size:]], dim=-1)

    changed = copy.copy(handler)
    changed._apply_freenoise = shuffle
    return options | {"context_handler": changed}


def _takes_noise(function: Any) -> bool:
    return callable(function) and (_name(function) == PASSES_ON or "noise_sampler" in inspect.signature(function).parameters)


def _name(function: Any) -> str:
    return getattr(getattr(function, "func", function), "__name__", "")  # a partial function has none


def _noise_sampler(name: str, x: Tensor, sigmas: Tensor, seed: SeedPair, shapes: Shapes) -> NoiseSampler:
    rows = seed.rows if len(seed.rows) == len(x) else range(len(x))
    if name in BROWNIAN:
        return _brownian(x, sigmas, SeedPair(seed, seed.audio, rows), shapes, on_cpu=not name.endswith("_gpu"))
    draws = itertools.count(1)  # 0 is the initial noise
    return lambda sigma, sigma_next: _pack(draw_streams(shapes, seed, next(draws), rows), x)


def _brownian(x: Tensor, sigmas: Tensor, seed: SeedPair, shapes: Shapes, on_cpu: bool) -> NoiseSampler:
    """Returns ComfyUI's Brownian noise, with one tree for each stream and row. Its latents have the latent frames first:
    on the CPU, a longer clip then starts with the noise of a shorter one."""
    from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler

    span, trees = (sigmas[sigmas > 0].min(), sigmas.max()), []
    for modality, (shape, of) in enumerate(zip(shapes, (int(seed), seed.audio))):
        like = x.new_empty(len(x), *shape[1:]).movedim(time_axis(shape), 1).contiguous()
        seeds = [_tree_seed(of, modality, row) for row in seed.rows]
        trees.append((BrownianTreeNoiseSampler(like, *span, seeds, cpu=on_cpu), time_axis(shape)))
    return lambda sigma, sigma_next: _pack([tree(sigma, sigma_next).movedim(1, axis) for tree, axis in trees], x)


def _tree_seed(seed: int, modality: int, row: int) -> int:
    """Returns the seed of a tree. Streams of equal seeds have different trees."""
    return int(np.random.SeedSequence((seed, modality, row)).generate_state(1, np.uint64)[0])


def _pack(streams: Sequence[Tensor], x: Tensor) -> Tensor:
    return torch.cat([each.flatten(1) for each in streams], dim=1).reshape(x.shape).to(x)
