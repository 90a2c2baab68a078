"""Compare guidance strategies: sample and measure the same prompts and noise with each strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from .contract import AVLatent
from .guidance import Guidance
from .metrics.intervals import mean_interval
from .metrics.score import Score, score_clip
from .sampling import SampleResult
from .shapes import AVShape


@dataclass(frozen=True)
class Clip:
    """A sampled clip and its measurements.

    branches_per_step, forwards_per_step: rows and network calls per step. seconds: sampling time.
    frames: [F, H, W, 3] in 0..1. waveform: [C, samples] in −1..1. Both None if only the measurements are kept.
    """

    score: Score
    branches_per_step: float
    forwards_per_step: float
    seconds: float
    warnings: tuple[str, ...] = ()
    frames: Tensor | None = None
    waveform: Tensor | None = None

    def measurements(self) -> Clip:
        """Return this clip without its frames and waveform."""
        return replace(self, frames=None, waveform=None)


@dataclass(frozen=True)
class Variant:
    """The clips generated with one guidance strategy, one per pair of seeds. The first one has frames and a waveform."""

    label: str
    clips: tuple[Clip, ...]

    @property
    def frames(self) -> Tensor:
        """The frames of the first clip."""
        assert self.clips[0].frames is not None
        return self.clips[0].frames

    @property
    def waveform(self) -> Tensor:
        """The waveform of the first clip."""
        assert self.clips[0].waveform is not None
        return self.clips[0].waveform

    @property
    def sample_rate(self) -> int:
        """The sample rate of the waveform."""
        sound = self.clips[0].score.sound
        assert sound is not None
        return sound.sample_rate

    @property
    def warnings(self) -> list[str]:
        """The warnings of all clips, each once."""
        return list(dict.fromkeys(warning for clip in self.clips for warning in clip.warnings))

    def facts(self) -> dict[str, Any]:
        """Return the means over the clips; None for values that could not be measured in any clip.

        f1_interval: the 95 % interval of the mean F1; None unless it was measured in several clips.
        """
        scores = [clip.score.facts() for clip in self.clips]
        f1 = [score["sync"]["f1"] for score in scores if score["sync"]["f1"] is not None]
        return {
            "label": self.label,
            "f1": _mean(f1),
            "f1_interval": list(mean_interval(np.array(f1))) if len(f1) > 1 else None,
            "chance": _mean(score["sync"]["chance"] for score in scores),
            "motion": _mean(100 * score["motion"] for score in scores),
            "lufs": _mean(score["sound"]["lufs"] for score in scores),
            "branches_per_step": _mean(clip.branches_per_step for clip in self.clips),
            "forwards_per_step": _mean(clip.forwards_per_step for clip in self.clips),
            "seconds": _mean(clip.seconds for clip in self.clips),
            "clips": len(self.clips),
        }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class HasCost(Protocol):
    """What a sampling run has cost, such as `sampling.SampleResult`."""

    @property
    def branches_per_step(self) -> float: ...

    @property
    def forwards_per_step(self) -> float: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


def sample_clip(sample: Callable[[], SampleResult], decode: Callable[[AVLatent], tuple[Tensor, Tensor]], shape: AVShape) -> Clip:
    """Sample a clip, and measure it and the time that the sampling takes.

    decode: decodes latents to (frames [1, F, H, W, 3], waveform [1, C, samples]).
    shape: frame rate and sample rate of the clip.
    """
    began = time.perf_counter()
    result = sample()
    seconds = time.perf_counter() - began
    frames, waveform = (each[0] for each in decode(result.latent))
    return measure_clip(result, seconds, (frames, shape.video.fps), (waveform, shape.audio.sample_rate))


def measure_clip(cost: HasCost, seconds: float, video: tuple[Tensor, Fraction], audio: tuple[Tensor, int]) -> Clip:
    """Measure a sampled clip. video: frames [F, H, W, 3] and their rate. audio: waveform [C, samples] and its rate."""
    (frames, fps), (waveform, sample_rate) = video, audio
    frames, waveform = frames.float().cpu(), waveform.float().cpu()
    score = score_clip(frames, fps, waveform, sample_rate)
    return Clip(score, cost.branches_per_step, cost.forwards_per_step, seconds, cost.warnings, frames, waveform)


def label_guidances(strategies: Sequence[Guidance]) -> list[str]:
    """Return a unique label per strategy: its name, the settings that differ if names are equal, a number if none differ."""
    found = []
    for strategy in strategies:
        same = [other for other in strategies if other.name == strategy.name]
        own = (f" {name} {format_setting(values[same.index(strategy)])}" for name, values in differing_settings(same).items())
        found.append(strategy.name + "".join(own))
    return number_duplicates(found)


def number_duplicates(names: Sequence[str]) -> list[str]:
    """Add a number to names that occur more than once: "cfg (1)", "cfg (2)"."""
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def differing_settings(strategies: Sequence[Guidance]) -> dict[str, list[Any]]:
    """Return the settings that differ, each with the value of every strategy: None for a strategy without that setting."""
    settings = dict.fromkeys(field.name for strategy in strategies for field in fields(strategy))
    values = {name: [getattr(strategy, name, None) for strategy in strategies] for name in settings}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each[1:])}


def describe_differences(strategies: Sequence[Guidance]) -> list[str]:
    """Describe the differences: one line per setting whose values differ among the strategies that have it."""
    lines = []
    for name, values in differing_settings(strategies).items():
        own = [value for strategy, value in zip(strategies, values) if hasattr(strategy, name)]
        if any(value != own[0] for value in own[1:]):
            lines.append(f"{name}: {', '.join(format_setting(value) for value in values)}")
    same = "only the strategy differs" if len({strategy.name for strategy in strategies}) > 1 else "nothing differs"
    return lines or [same]


def format_setting(value: Any) -> str:
    """Format the value of a setting briefly: a number, a curve as its points, or "–" for None."""
    if value is None:
        return "–"
    points = getattr(value, "points", None)
    if points is not None:
        return " ".join(f"{x:g}:{y:g}" for x, y in points) + (" cubic" if value.interpolation == "monotone_cubic" else "")
    return f"{value:g}"
