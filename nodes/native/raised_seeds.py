"""Other seeds of a NOISE, for further clips."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from ..kept_clips import raised_seed
from .noise import TwoSeedNoise

RANDOM_NOISE = "Noise_RandomNoise"  # the class of ComfyUI's RandomNoise, which loads its file under another name than imports do


def raise_seeds(noise: Any, clips: int) -> list[Any]:
    """Returns the NOISE of each clip: its seeds are raised by 1 for each further one. Raises ValueError if it has none."""
    return [noise, *(_raise(noise, i, clips) for i in range(1, clips))]


def _raise(noise: Any, by: int, clips: int) -> Any:
    if isinstance(noise, TwoSeedNoise):
        return replace(noise, video_seed=raised_seed(noise.video_seed, by), audio_seed=raised_seed(noise.audio_seed, by))
    if type(noise).__name__ != RANDOM_NOISE:
        raise ValueError(
            f"seeds is {clips}, and the noise is a {type(noise).__name__}, whose seed cannot be raised; "
            "use 1, or connect Joint Noise or RandomNoise"
        )
    raised = copy(noise)
    raised.seed = raised_seed(noise.seed, by)
    return raised
