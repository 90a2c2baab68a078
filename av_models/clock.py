"""The time grid of a sampling run, and the diffusers scheduler of each modality.

The sampler stores the state that each scheduler uses. The input of a network is x_t = α x_0 + σ ε in its noise schedule. For flow
matching and DDIM, this is also the scheduler's state. Euler's state for EDM and DDPM is x_0 + σ ε; `network_input` scales it.
"""

from __future__ import annotations

import copy
import inspect
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, SchedulerMixin
from torch import Tensor

from .contract import Prediction
from .guidance.modifiers import SAME_TIME
from .noise import AUDIO, VIDEO, Seed, check_seed, step_generator
from .parameterization import convert
from .path import DDPM, EDM, Flow, Path, Trigonometric

MOST_STEPS = 100_000
LOWEST_SIGMA = 0.3  # at which Stable Audio Open's own schedulers take the last step

PREDICTIONS: dict[str, Prediction] = {
    "flow_prediction": "flow", "epsilon": "epsilon", "v_prediction": "v", "sample": "x0",
}  # fmt: skip


def time_grid(steps: int, shift: float = 1.0, name: str = "shift") -> list[float]:
    """Return the times of `steps` steps from 1 to 1/steps, shifted: t' = s t / (1 + (s − 1) t) (arXiv 2403.03206, eq. 23).

    name: the name of the shift in error messages.
    Raises ValueError unless 1 ≤ steps ≤ MOST_STEPS and shift > 0.
    """
    check_steps(steps)
    if not isinstance(shift, numbers.Real) or not (math.isfinite(shift) and shift > 0):
        raise ValueError(f"{name} is {shift}; give a number above 0 (1: no shift)")
    uniform = ((steps - i) / steps for i in range(steps))
    return [shift * t / (1 + (shift - 1) * t) for t in uniform]


def check_steps(steps: int) -> None:
    """Raise ValueError unless `steps` is a whole number from 1 to MOST_STEPS."""
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(f"steps is {steps}; give a whole number of at least 1")
    if steps > MOST_STEPS:
        raise ValueError(f"steps is {steps}; give at most {MOST_STEPS}")


def check_times(times: Sequence[float]) -> None:
    """Raise ValueError unless `times` are 1 to MOST_STEPS numbers in (0, 1], each below the one before."""
    if not 1 <= len(times) <= MOST_STEPS:
        raise ValueError(f"times has {len(times)} values; give 1 to {MOST_STEPS}")
    if not all(0 < t <= 1 for t in times) or any(later >= t for t, later in zip(times, times[1:])):
        raise ValueError(
            f"times go from {times[0]:g} to {times[-1]:g}; give numbers above 0 and at most 1, each below the one before"
        )


def make_clock(path: Path, scheduler: Any, modality: int, seed: Seed) -> Clock:
    """Return the clock of one modality with noise schedule `path`. scheduler: it is copied; None: an Euler scheduler that fits."""
    kinds: dict[type, Callable[..., Clock]] = {Flow: FlowClock, EDM: EDMClock, DDPM: DDPMClock, Trigonometric: TrigonometricClock}
    return kinds[type(path)](path, scheduler, modality, seed)


class Clock(ABC):
    """The scheduler of one modality with its time grid.

    times: t of each step, from 1 (noise) towards 0 (clean). network_times: the network's timestep of each step.
    """

    def __init__(self, path: Path, scheduler: Any, modality: int, seed: Seed) -> None:
        self.path = path
        self.scheduler = copy.deepcopy(scheduler) if scheduler is not None else self.default()
        self.label = {VIDEO: "video", AUDIO: "audio"}[modality]
        for each in seed if isinstance(seed, list) else (seed,):
            check_seed(each, f"{self.label}_seed")
        self.target = PREDICTIONS[self.scheduler.config.get("prediction_type", "flow_prediction")]
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        self.options = {"generator": step_generator(seed, modality)} if takes_generator else {}
        self.times: list[float] = []
        self.network_times: list[float] = []

    @abstractmethod
    def default(self) -> SchedulerMixin:
        """Return the scheduler to use if none is given."""

    @abstractmethod
    def use_shared_grid(self, grid: Sequence[float]) -> None:
        """Set the time grid of the sampler. Raises ValueError if the scheduler cannot use it."""

    @abstractmethod
    def use_own_grid(self, steps: int) -> None:
        """Set the scheduler's own time grid of `steps` steps, as the expert's diffusers pipeline does."""

    @abstractmethod
    def state_path(self, index: int) -> tuple[float, float]:
        """Return α and σ of the scheduler's state before step `index`."""

    def path_after(self, index: int) -> tuple[float, float]:
        """Return α and σ of the scheduler's state after step `index`."""
        return self.state_path(index + 1) if index + 1 < len(self.times) else (1.0, 0.0)

    def ancestral_share(self, index: int) -> float:
        """Return the share of new noise in the state after a step at η = 1, as in ancestral sampling (arXiv 2010.02502, eq. 16)."""
        (alpha, sigma), (alpha_after, sigma_after) = self.state_path(index), self.path_after(index)
        return max(0.0, 1 - (alpha / alpha_after * sigma_after / sigma) ** 2) ** 0.5

    def network_path(self, index: int) -> tuple[float, float]:
        """Return α and σ of the network's input at step `index`."""
        alpha, sigma = self.state_path(index)
        scale = math.hypot(alpha, sigma)
        return alpha / scale, sigma / scale

    def start(self, noise: Tensor) -> Tensor:
        """Return the scheduler's first state, from standard normal noise."""
        return noise * self.scheduler.init_noise_sigma

    def network_input(self, index: int, state: Tensor) -> Tensor:
        """Return the network's input at step `index` for the scheduler's state."""
        if getattr(self.scheduler, "step_index", None) in (None, index):
            return self.scheduler.scale_model_input(state, self.scheduler.timesteps[index])
        return state * (self.network_path(index)[0] / self.state_path(index)[0])  # diffusers scales for the next step only

    def convert(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """Convert a prediction for the network's input `x_t` at step `index` from type `source` to type `target`."""
        return convert(prediction, x_t, *self.network_path(index), source, target)

    def estimate(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """Convert as `convert` does, to one estimate at `x_t`, also where the network predicts several times at once."""
        return self.convert(index, source, target, prediction, x_t)

    def split_after(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clean estimate and the noise of the state after step `index`, without new noise."""
        return self.estimate(index, source, "x0", prediction, x_t), self.estimate(index, source, "epsilon", prediction, x_t)

    def step(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor, state: Tensor) -> Tensor:
        """Return the state after step `index`. Call it once per step, in order: schedulers store earlier predictions."""
        prediction = self.convert(index, source, self.target, prediction, x_t)
        timestep = self.scheduler.timesteps[index]
        return self.scheduler.step(prediction, timestep, state, return_dict=False, **self.options)[0]

    def _require_distinct(self, levels: Sequence[float]) -> None:
        if len(set(levels)) < len(levels):
            raise ValueError(f"{len(levels)} steps have only {len(set(levels))} different noise levels in the {self.label}; "
                             "use fewer steps, or a shift closer to 1")  # fmt: skip

    def raise_unsupported(self, why: str) -> NoReturn:
        """Raise ValueError with the name of the scheduler and the reason why it cannot be used."""
        raise ValueError(f"{self.label} scheduler {type(self.scheduler).__name__} {why}")


class FlowClock(Clock):
    """Flow matching: the state is x_t = (1 − t) x_0 + t ε."""

    path: Flow

    def default(self) -> SchedulerMixin:
        return FlowMatchEulerDiscreteScheduler()

    def use_shared_grid(self, grid: Sequence[float]) -> None:
        config = self.scheduler.config
        if "sigmas" not in inspect.signature(self.scheduler.set_timesteps).parameters:
            self.raise_unsupported("does not accept a time grid; choose FlowMatchEuler or flow UniPC")
        is_flow = config.get("use_flow_sigmas", "FlowMatch" in type(self.scheduler).__name__)
        if config.get("use_dynamic_shifting") or not is_flow:
            self.raise_unsupported("is not configured for flow matching on a shared time grid; "
                        "turn use_dynamic_shifting off, and use_flow_sigmas on if it has this setting")  # fmt: skip
        self.scheduler.set_timesteps(sigmas=np.array(grid))
        self.times = self.network_times = [float(sigma) for sigma in self.scheduler.sigmas[: len(grid)]]
        if max(abs(a - b) for a, b in zip(self.times, grid)) > SAME_TIME:
            self.raise_unsupported("changes the shared time grid; set the scheduler's shift to 1 and use the sampler's shift")

    def use_own_grid(self, steps: int) -> None:
        self.scheduler.set_timesteps(steps)
        timesteps, sigmas = self.scheduler.timesteps, getattr(self.scheduler, "sigmas", None)
        if sigmas is None or float(sigmas.max()) > 1:
            self.raise_unsupported("is not a flow-matching scheduler; choose FlowMatchEuler or flow UniPC")
        # t · scale in the network equals a timestep σ · scale in float32 bit for bit. If the scheduler rounded its timesteps
        # (UniPC), it differs by at most one ulp.
        self.times = self.network_times = [float(t) for t in timesteps / self.scheduler.config.num_train_timesteps]

    def state_path(self, index: int) -> tuple[float, float]:
        t = float(self.scheduler.sigmas[index])
        return 1 - t, t

    def network_path(self, index: int) -> tuple[float, float]:
        return self.state_path(index)

    def convert(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        if self.path.direct and (source, target) == ("x0", "flow"):
            return (x_t - prediction) / self.state_path(index)[1]
        return super().convert(index, source, target, prediction, x_t)

    def start(self, noise: Tensor) -> Tensor:
        return noise

    def network_input(self, index: int, state: Tensor) -> Tensor:
        return state


class EDMClock(Clock):
    """EDM with diffusers' Euler, as in Stable Video Diffusion: the state is x_0 + σ ε."""

    path: EDM | Trigonometric

    def default(self) -> SchedulerMixin:
        return EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
            timestep_type="continuous", timestep_spacing="leading", steps_offset=1, interpolation_type="linear",
            use_karras_sigmas=True, sigma_min=self.path.lowest, sigma_max=self.path.highest,
        )  # fmt: skip

    def use_shared_grid(self, grid: Sequence[float]) -> None:
        self._require_continuous()
        if "sigmas" not in inspect.signature(self.scheduler.set_timesteps).parameters:
            self.raise_unsupported("does not accept a time grid; choose EulerDiscrete")
        levels = self.path.sigma_at(torch.tensor(grid, dtype=torch.float64)).tolist()
        self._require_distinct(levels)
        self.scheduler.set_timesteps(sigmas=[*levels, 0.0])
        self._read_times()

    def use_own_grid(self, steps: int) -> None:
        self._require_continuous()
        self.scheduler.set_timesteps(steps)
        self._read_times()

    def _require_continuous(self) -> None:
        if self.scheduler.config.get("timestep_type") != "continuous":
            self.raise_unsupported(
                "has discrete timesteps, but this model needs continuous ones; choose EulerDiscrete with timestep_type 'continuous'"
            )

    def _read_times(self) -> None:
        self.network_times = self.scheduler.timesteps.tolist()
        levels = self.scheduler.sigmas[: len(self.network_times)]
        self.times = self.path.time_at(levels).tolist()

    def state_path(self, index: int) -> tuple[float, float]:
        return 1.0, float(self.scheduler.sigmas[index])


class TrigonometricClock(EDMClock):
    """Stable Audio Open with its own scheduler or diffusers' Euler: the state is x_0 + σ ε, as for EDM."""

    path: Trigonometric

    def default(self) -> SchedulerMixin:
        return EulerDiscreteScheduler(
            prediction_type="v_prediction", timestep_type="continuous", timestep_spacing="leading", use_exponential_sigmas=True,
            sigma_min=LOWEST_SIGMA, sigma_max=self.path.highest,
        )  # fmt: skip

    def _require_continuous(self) -> None:
        if self.scheduler.config.get("sigma_data") != 1.0:  # of its own scheduler
            super()._require_continuous()

    def _read_times(self) -> None:
        levels = self.scheduler.sigmas[: len(self.scheduler.timesteps)]
        self.times = self.network_times = self.path.time_at(levels).tolist()


class DDPMClock(Clock):
    """DDPM, as in AudioLDM2: the state is x_t (DDIM and similar) or x_t / α (Euler and similar)."""

    path: DDPM

    def default(self) -> SchedulerMixin:
        return EulerDiscreteScheduler(
            num_train_timesteps=self.path.steps, beta_schedule=self.path.beta_schedule, beta_start=self.path.first_beta,
            beta_end=self.path.last_beta, prediction_type="epsilon", timestep_spacing="leading", steps_offset=1,
        )  # fmt: skip

    def use_shared_grid(self, grid: Sequence[float]) -> None:
        if "timesteps" not in inspect.signature(self.scheduler.set_timesteps).parameters:
            self.raise_unsupported("does not accept a time grid; choose EulerDiscrete or DPMSolverMultistep")
        self._require_same_betas()
        indices = self.path.index(torch.tensor(grid, dtype=torch.float64)).tolist()
        self._require_distinct(indices)
        self.scheduler.set_timesteps(timesteps=indices)
        self.network_times, self.times = self.scheduler.timesteps.tolist(), list(grid)

    def use_own_grid(self, steps: int) -> None:
        self._require_same_betas()
        self.scheduler.set_timesteps(steps)
        self.network_times = self.scheduler.timesteps.tolist()
        self.times = [(index + 1) / self.path.steps for index in self.network_times]

    def _require_same_betas(self) -> None:
        kept = getattr(self.scheduler, "alphas_cumprod", None)
        if kept is None or len(kept) != self.path.steps or not torch.allclose(kept, self.path.alphas_cumprod, rtol=1e-3):
            self.raise_unsupported("has different betas from the model's training; create it from the model's scheduler config")

    def state_path(self, index: int) -> tuple[float, float]:
        alpha, sigma = self.network_path(index)
        scaled = float(self.scheduler.init_noise_sigma) > 1
        return (1.0, sigma / alpha) if scaled else (alpha, sigma)

    def network_path(self, index: int) -> tuple[float, float]:
        kept = float(self.scheduler.alphas_cumprod[int(self.network_times[index])])
        return kept**0.5, (1 - kept) ** 0.5
