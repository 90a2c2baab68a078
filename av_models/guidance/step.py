"""One step of a sampling run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A sampling step.

    index: number of the step, from 0. count: number of steps of the run.
    t_video, t_audio: diffusion time of each modality before the step, from 0 (clean) to 1 (noise).
    """

    index: int
    count: int
    t_video: float
    t_audio: float
