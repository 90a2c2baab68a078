"""Other seeds of a NOISE, for further clips."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from ..kept_clips import raised_seed
from .noise import TwoSeedNoise

RANDOM_NOISE = "Noise_RandomNoise"  # the class of ComfyUI's RandomNoise, which loads its file under another name than imports do


def raise_seeds(noise: Any, clips: int, name: str = "seeds") -> list[Any]:
    """Returns the NOISE of each clip: its seeds are raised by 1 for each further one. Raises ValueError if it has none.

    name: of the input that has the number of clips.
    """
    return [noise, *(_raise(noise, i, f"{name} is {clips}") for i in range(1, clips))]


def raise_audio_seed(noise: Any, clips: int) -> list[Any]:
    """Returns the NOISE of each clip: the seed of its audio is raised by 1 for each further one, that of its video is kept."""
    if not isinstance(noise, TwoSeedNoise):
        raise ValueError(
            "vary is 'audio seed', and the noise has no seed of its own for the audio; connect Joint Noise, or vary both"
        )
    return [replace(noise, audio_seed=raised_seed(noise.audio_seed, by)) for by in range(clips)]


def seeds_of(noise: Any) -> tuple[int, int]:
    """Returns the seeds of video and audio of a NOISE."""
    return (noise.video_seed, noise.audio_seed) if isinstance(noise, TwoSeedNoise) else (noise.seed, noise.seed)


def _raise(noise: Any, by: int, asked: str) -> Any:
    if isinstance(noise, TwoSeedNoise):
        return replace(noise, video_seed=raised_seed(noise.video_seed, by), audio_seed=raised_seed(noise.audio_seed, by))
    if type(noise).__name__ != RANDOM_NOISE:
        raise ValueError(
            f"{asked}, and the noise is a {type(noise).__name__}, whose seed cannot be raised; "
            "use 1, or connect Joint Noise or RandomNoise"
        )
    raised = copy(noise)
    raised.seed = raised_seed(noise.seed, by)
    return raised
