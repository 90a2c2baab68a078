"""Flow-matching Euler with the noise levels of an expert's own pipeline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.stable_audio_3.pipeline_stable_audio_3 import logsnr_sigma_schedule

ACE_STEP_SHIFT = 3.0


class OwnFlowMatchScheduler(FlowMatchEulerDiscreteScheduler):
    """A scheduler whose noise levels for a number of steps are those that a pipeline passes to its own."""

    @abstractmethod
    def own_levels(self, steps: int) -> Sequence[float]:
        """Return the noise levels."""

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None, **options: Any) -> None:
        """Set the noise levels of a run."""
        if sigmas is None and num_inference_steps is not None:
            sigmas = self.own_levels(num_inference_steps)
        super().set_timesteps(num_inference_steps, device, sigmas, **options)


class TangoFluxFlowMatchScheduler(OwnFlowMatchScheduler):
    """That of TangoFlux: evenly spaced from 1 to 1/steps."""

    def own_levels(self, steps: int) -> Sequence[float]:
        return np.linspace(1.0, 1 / steps, steps).tolist()


class StableAudio3FlowMatchScheduler(OwnFlowMatchScheduler):
    """That of Stable Audio 3: evenly spaced in the logarithm of the signal-to-noise ratio."""

    def own_levels(self, steps: int) -> Sequence[float]:
        return logsnr_sigma_schedule(steps, -6.2, 2.0)


class AceStepFlowMatchScheduler(OwnFlowMatchScheduler):
    """That of ACE-Step: evenly spaced, then shifted."""

    def own_levels(self, steps: int) -> Sequence[float]:
        t = torch.linspace(1.0, 0.0, steps + 1)
        return (ACE_STEP_SHIFT * t / (1 + (ACE_STEP_SHIFT - 1) * t))[:-1].tolist()
