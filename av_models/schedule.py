"""The sampling schedule: the number of steps, their times, and the diffusers schedulers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .clock import Clock, check_times, make_clock, time_grid
from .guidance import Step
from .noise import AUDIO, VIDEO, NoiseSource
from .path import Path


@dataclass(frozen=True)
class SamplingSchedule:
    """The timesteps and the solvers of a sampling run.

    steps: number of sampling steps.
    shift: shifts the times, t' = s t / (1 + (s − 1) t) (arXiv 2403.03206, eq. 23). 1: uniform times. Above 1: more steps at
        high noise.
    audio_shift: a separate shift for the audio; None: the same as `shift`. The modality with the lower shift is less noisy
        than the other at every step.
    eta: DDIM's η (arXiv 2010.02502, eq. 16), for any noise schedule: how much noise each step replaces with new noise.
        0: none, the schedulers' deterministic step. 1: ancestral sampling. Above 1: more, until all noise is new.
    parity: remove the joint parameters, and use the time grid of each modality's own scheduler. The result then equals that
        of each expert's diffusers pipeline: bit for bit if branches run one by one, latents are float32 and the scheduler
        does not round its timesteps, else within 1e-5. (A trained JointDiT keeps its feed-forwards.)
    video_scheduler, audio_scheduler: diffusers schedulers that fit the model's noise schedules; they are copied. None: an
        Euler scheduler for flow matching, EDM or DDPM.
    times: the time of every step, from at most 1 towards 0, for both modalities; they replace `steps` and `shift`. None: from
        these. `JointModel.make_schedule` has the times of a model's own pipeline.
    """

    steps: int = 20
    shift: float = 1.0
    audio_shift: float | None = None
    eta: float = 0.0
    parity: bool = False
    video_scheduler: Any = None
    audio_scheduler: Any = None
    times: tuple[float, ...] | None = None

    def grids(self) -> tuple[list[float], list[float]]:
        """Return the times of video and audio in (0, 1], without a scheduler. Raises ValueError for invalid steps or shifts."""
        if self.times is not None:
            check_times(self.times)
            return list(self.times), list(self.times)
        video = time_grid(self.steps, self.shift)
        return video, video if self.audio_shift is None else time_grid(self.steps, self.audio_shift, "audio_shift")

    def plan(self) -> list[Step]:
        """Return the steps, without a scheduler."""
        return make_steps(*self.grids())

    def clocks(self, paths: tuple[Path, Path], noise: NoiseSource, policy: Any = None) -> tuple[Clock, Clock]:
        """Return the schedulers of video and audio with their time grids.

        policy: the scheduler that the model's weights are distilled for, None if they are not.
        Raises ValueError for settings that are out of range, and for schedulers that do not fit the model or each other.
        """
        grids = self.grids()
        video, audio = self._make_clocks(paths, noise) if policy is None else self._make_policy_clocks(paths, noise, policy)
        self._check()
        for clock, grid in zip((video, audio), grids):
            if self.parity:
                clock.use_own_grid(len(grid))
            else:
                clock.use_shared_grid(grid)
        if len(video.times) != len(audio.times):
            raise ValueError(
                f"the schedulers take {len(video.times)} (video) and {len(audio.times)} (audio) network evaluations; "
                "choose two that take the same number"
            )
        return video, audio

    def _make_clocks(self, paths: tuple[Path, Path], noise: NoiseSource) -> tuple[Clock, Clock]:
        return (
            make_clock(paths[0], self.video_scheduler, VIDEO, noise.video_seed),
            make_clock(paths[1], self.audio_scheduler, AUDIO, noise.audio_seed),
        )

    def _make_policy_clocks(self, paths: tuple[Path, Path], noise: NoiseSource, policy: Any) -> tuple[Clock, Clock]:
        from .policy_clock import PolicyClock

        for name, scheduler in (("video_scheduler", self.video_scheduler), ("audio_scheduler", self.audio_scheduler)):
            if scheduler is not None:
                raise ValueError(
                    f"{name} is {type(scheduler).__name__}, but this model is distilled for {type(policy).__name__}; use None"
                )
        return PolicyClock(paths[0], policy, VIDEO, noise.video_seed), PolicyClock(paths[1], policy, AUDIO, noise.audio_seed)

    def _check(self) -> None:
        if self.times is not None and (self.parity or self.audio_shift is not None):
            raise ValueError("times are given; leave parity off and audio_shift at None")
        for name, value in (("shift", self.shift), ("audio_shift", self.audio_shift)):
            if self.parity and value not in (None, 1):
                raise ValueError(f"{name} is {value}; in parity mode leave it at 1 and set the scheduler's own shift")
        if not 0 <= self.eta < math.inf:
            raise ValueError(f"eta is {self.eta}; use 0 (no new noise), 1 (ancestral sampling) or more")
        if self.eta and (self.parity or self.video_scheduler is not None or self.audio_scheduler is not None):
            raise ValueError(f"eta is {self.eta}; leave it at 0 in parity mode and with your own schedulers")


def make_steps(video_times: Iterable[float], audio_times: Iterable[float]) -> list[Step]:
    """Return one step for each pair of times."""
    times = list(zip(video_times, audio_times))
    return [Step(index, len(times), *pair) for index, pair in enumerate(times)]
