"""Time: the grid that both modalities share, and one modality's diffusers scheduler running on a grid."""

from __future__ import annotations

import copy
import inspect
import math
import numbers
from collections.abc import Sequence

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from .contract import Prediction
from .guidance.modifiers import SAME_TIME
from .noise import AUDIO, VIDEO, check_seed, step_generator
from .parameterization import convert

PREDICTIONS: dict[str, Prediction] = {
    "flow_prediction": "flow", "epsilon": "epsilon", "v_prediction": "v", "sample": "x0",
}  # fmt: skip


def time_grid(steps: int, shift: float = 1.0) -> list[float]:
    """Times of `steps` steps from 1 down to 1/steps, bent by `shift` as t' = s t / (1 + (s − 1) t).

    The shift is Esser et al., arXiv 2403.03206, eq. 23. Raises ValueError unless steps ≥ 1 and shift > 0.
    """
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(f"steps is {steps}; give a whole number of at least 1")
    if not isinstance(shift, numbers.Real) or not (math.isfinite(shift) and shift > 0):
        raise ValueError(f"shift is {shift}; give a number above 0 (1 leaves the time grid as it is)")
    uniform = ((steps - i) / steps for i in range(steps))
    return [shift * t / (1 + (shift - 1) * t) for t in uniform]


class Clock:
    """One modality's scheduler on its grid. The path is flow matching's: x_t = (1 − t) x_0 + t ε."""

    def __init__(self, scheduler, modality: int, seed: int) -> None:
        self.scheduler = copy.deepcopy(scheduler or FlowMatchEulerDiscreteScheduler())
        self.label = {VIDEO: "video", AUDIO: "audio"}[modality]
        check_seed(seed, f"{self.label}_seed")
        self.target = PREDICTIONS[self.scheduler.config.get("prediction_type", "flow_prediction")]
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        self.options = {"generator": step_generator(seed, modality)} if takes_generator else {}
        self.times: list[float] = []

    def share(self, grid: Sequence[float]) -> None:
        """Runs on the shared `grid`; raises ValueError where the scheduler has another one of its own."""
        name, config = type(self.scheduler).__name__, self.scheduler.config
        if "sigmas" not in inspect.signature(self.scheduler.set_timesteps).parameters:
            raise ValueError(f"{self.label} scheduler {name} takes no time grid; choose FlowMatchEuler or flow UniPC")
        if config.get("use_dynamic_shifting") or config.get("use_flow_sigmas") is False:
            raise ValueError(f"{self.label} scheduler {name} is not set up for a flow on a shared time grid; "
                             "turn use_dynamic_shifting off, and use_flow_sigmas on where it has it")  # fmt: skip
        self.scheduler.set_timesteps(sigmas=np.array(grid))
        self.times = [float(sigma) for sigma in self.scheduler.sigmas[: len(grid)]]
        if max(abs(a - b) for a, b in zip(self.times, grid)) > SAME_TIME:
            raise ValueError(f"{self.label} scheduler {name} bends the time grid that both modalities share; "
                             "make its own shift 1 and give the sampler a shift")  # fmt: skip

    def own(self, steps: int) -> None:
        """Runs on the scheduler's own grid of `steps` steps, as the expert's pipeline does."""
        self.scheduler.set_timesteps(steps)
        timesteps, sigmas = self.scheduler.timesteps, getattr(self.scheduler, "sigmas", None)
        if sigmas is None or float(sigmas.max()) > 1:
            raise ValueError(f"{self.label} scheduler {type(self.scheduler).__name__} is no flow scheduler; "
                             "choose one, such as FlowMatchEuler or flow UniPC")  # fmt: skip
        # A timestep that is σ · scale in float32 comes back bit for bit from t · scale; one that the scheduler
        # rounded (UniPC) within one ulp.
        self.times = [float(t) for t in timesteps / self.scheduler.config.num_train_timesteps]

    def convert(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """A prediction made at step `index`, of kind `source`, as one of kind `target`."""
        t = float(self.scheduler.sigmas[index])
        return convert(prediction, x_t, 1 - t, t, source, target)

    def x0(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """The clean estimate at step `index`, from a prediction of kind `source`."""
        return self.convert(index, source, "x0", prediction, x_t)

    def step(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """The latent after step `index`. Steps are taken once each, in order: schedulers remember."""
        prediction = self.convert(index, source, self.target, prediction, x_t)
        timestep = self.scheduler.timesteps[index]
        return self.scheduler.step(prediction, timestep, x_t, return_dict=False, **self.options)[0]
