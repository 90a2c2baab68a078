"""The clock of weights that are distilled for diffusers' PiflowScheduler (π-Flow, arXiv 2510.14974)."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import PiflowScheduler
from torch import Tensor

from .clock import FlowClock
from .contract import Prediction
from .guidance.modifiers import SAME_TIME


class PolicyClock(FlowClock):
    """Flow matching with a network that predicts the velocity at several times of a step at once.

    The predictions [B, n · C, …] are for n times from the end of the step to its beginning. The scheduler follows them without
    further network calls. Its times are those of the distillation, for each number of steps.
    """

    scheduler: PiflowScheduler

    def use_shared_grid(self, grid: Sequence[float]) -> None:
        self.use_own_grid(len(grid))
        if max(abs(a - b) for a, b in zip(self.times, grid)) > SAME_TIME:
            raise ValueError(
                "shift and times cannot be changed, because this model is distilled for the times of its own scheduler; leave them "
                "as the model recommends"
            )

    def use_own_grid(self, steps: int) -> None:
        self.scheduler.set_timesteps(steps)
        self.times = self.network_times = self.scheduler.sigmas[:-1].tolist()

    def convert(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        return super().convert(index, source, target, prediction, _repeat(x_t, prediction.shape[1] // x_t.shape[1]))

    def estimate(self, index: int, source: Prediction, target: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        return super().estimate(index, source, target, prediction[:, -x_t.shape[1] :], x_t)

    def step(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor, state: Tensor) -> Tensor:
        return self._step(index, self._velocities(index, source, prediction, x_t), state)

    def split_after(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        velocities = self._velocities(index, source, prediction, x_t)
        clean = super().convert(index, "flow", "x0", velocities[:, : x_t.shape[1]], x_t)
        alpha, sigma = self.path_after(index)
        after = self._step(index, velocities, x_t)
        return (clean, (after - alpha * clean) / sigma) if sigma else (after, clean)

    def _velocities(self, index: int, source: Prediction, prediction: Tensor, x_t: Tensor) -> Tensor:
        """Return the velocities at all times of the step. A single prediction, of a skipped step, is for all of them."""
        velocities = self.convert(index, source, "flow", prediction, x_t)
        return _repeat(velocities, x_t.shape[1] * self.scheduler.n_grid // velocities.shape[1])

    def _step(self, index: int, velocities: Tensor, state: Tensor) -> Tensor:
        self.scheduler.set_timesteps(len(self.times))  # forgets which step was the last
        args = velocities.movedim(1, -1), self.scheduler.timesteps[index], state.movedim(1, -1)
        return self.scheduler.step(*args, return_dict=False)[0].movedim(-1, 1)


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat(1, times, *[1] * (x.ndim - 2)) if times > 1 else x
