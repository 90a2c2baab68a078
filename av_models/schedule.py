"""When the network is evaluated: the number of steps, their times, and the diffusers schedulers that take them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .clock import Clock, make_clock, time_grid
from .guidance import Step
from .noise import AUDIO, VIDEO, NoiseSource
from .path import Path


@dataclass(frozen=True)
class SamplingSchedule:
    """The settings of a sampling run that decide its timesteps and its solver.

    steps: network evaluations of each scheduler.
    shift: bends the time grid towards noise, t' = s t / (1 + (s − 1) t) (arXiv 2403.03206, eq. 23); 1 is uniform.
    audio_shift: a shift of the audio's own; None: as the video. With the lower shift, a modality is less noisy than the
        other at every step.
    eta: DDIM's η (arXiv 2010.02502, eq. 16), for any noise schedule: the share of each step's noise that is drawn anew.
        0 is the schedulers' own deterministic step, 1 ancestral sampling; above 1 more is drawn, at most all of it.
    parity: joint parameters removed, and each modality on its own scheduler's grid. The result is that of each expert's own
        pipeline: bit for bit with branches run one by one, float32 latents and a scheduler that does not round its
        timesteps, within 1e-5 otherwise. (A trained JointDiT keeps its feed-forwards.)
    video_scheduler, audio_scheduler: diffusers schedulers that fit the model's noise schedules; they are copied. None: Euler,
        for flow matching, EDM or DDPM.
    """

    steps: int = 20
    shift: float = 1.0
    audio_shift: float | None = None
    eta: float = 0.0
    parity: bool = False
    video_scheduler: Any = None
    audio_scheduler: Any = None

    def grids(self) -> tuple[list[float], list[float]]:
        """The video's and the audio's times in (0, 1], before any scheduler. Raises ValueError for bad steps or shifts."""
        video = time_grid(self.steps, self.shift)
        return video, video if self.audio_shift is None else time_grid(self.steps, self.audio_shift, "audio_shift")

    def plan(self) -> list[Step]:
        """The steps, before any scheduler."""
        return plan_of(*self.grids())

    def clocks(self, paths: tuple[Path, Path], noise: NoiseSource) -> tuple[Clock, Clock]:
        """The video's and the audio's schedulers on their time grids.

        Raises ValueError for settings that are out of range, and for schedulers that do not fit the model or each other.
        """
        grids = self.grids()
        video = make_clock(paths[0], self.video_scheduler, VIDEO, noise.video_seed)
        audio = make_clock(paths[1], self.audio_scheduler, AUDIO, noise.audio_seed)
        self._check()
        for clock, grid in zip((video, audio), grids):
            if self.parity:
                clock.own(len(grid))
            else:
                clock.share(grid)
        if len(video.times) != len(audio.times):
            raise ValueError(
                f"the schedulers take {len(video.times)} (video) and {len(audio.times)} (audio) network evaluations; "
                "choose two that take the same number"
            )
        return video, audio

    def _check(self) -> None:
        for name, value in (("shift", self.shift), ("audio_shift", self.audio_shift)):
            if self.parity and value not in (None, 1):
                raise ValueError(f"{name} is {value}; in parity mode leave it at 1 and set the scheduler's own shift")
        if not 0 <= self.eta < math.inf:
            raise ValueError(f"eta is {self.eta}; use 0 (no new noise), 1 (ancestral sampling) or more")
        if self.eta and (self.parity or self.video_scheduler is not None or self.audio_scheduler is not None):
            raise ValueError(f"eta is {self.eta}; leave it at 0 in parity mode and with schedulers of your own")


def plan_of(video_times: Iterable[float], audio_times: Iterable[float]) -> list[Step]:
    """A step for each pair of times."""
    times = list(zip(video_times, audio_times))
    return [Step(index, len(times), *pair) for index, pair in enumerate(times)]
