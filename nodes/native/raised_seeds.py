"""Other seeds of a NOISE, for further clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

from ..kept_clips import raised_seed
from .noise import TwoSeedNoise


def raise_seeds(noise: Any, clips: int) -> list[Any]:
    """Returns the NOISE of each clip: its seeds are raised by 1 for each further one. Raises ValueError if it has none."""
    if clips == 1:
        return [noise]
    raised = next((each for kind, each in RAISED.items() if type(noise) is kind), None)
    if raised is None:
        raise ValueError(
            f"seeds is {clips}, and the noise is a {type(noise).__name__}, whose seed cannot be raised; "
            "use 1, or connect Joint Noise or RandomNoise"
        )
    return [noise, *(raised(noise, i) for i in range(1, clips))]


def _raise_both(noise: TwoSeedNoise, by: int) -> TwoSeedNoise:
    return replace(noise, video_seed=raised_seed(noise.video_seed, by), audio_seed=raised_seed(noise.audio_seed, by))


def _raise_one(noise: Noise_RandomNoise, by: int) -> Noise_RandomNoise:
    return Noise_RandomNoise(raised_seed(noise.seed, by))


RAISED: dict[type, Callable[[Any, int], Any]] = {TwoSeedNoise: _raise_both, Noise_RandomNoise: _raise_one}
