"""Compare guidance strategies: sample and measure the same prompts and noise once with each strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from .contract import AVLatent
from .guidance import Guidance
from .metrics.score import Score, score_clip
from .sampling import SampleResult
from .shapes import AVShape


@dataclass(frozen=True)
class Variant:
    """The clip generated with one guidance strategy.

    frames: [F, H, W, 3] in 0..1. waveform: [C, samples] in −1..1.
    branches_per_step, forwards_per_step: rows and network calls per step. seconds: sampling time.
    """

    label: str
    frames: Tensor
    waveform: Tensor
    score: Score
    branches_per_step: float
    forwards_per_step: float
    seconds: float
    warnings: tuple[str, ...] = ()


def compare_guidances(
    names: Sequence[str],
    sample_with: Callable[[int], SampleResult],
    decode: Callable[[AVLatent], tuple[Tensor, Tensor]],
    shape: AVShape,
) -> Iterator[Variant]:
    """Sample and measure one clip per label in `names`; yield each when it is done.

    sample_with: samples the clip with strategy number `i`, from the same noise each time.
    decode: decodes latents to (frames [1, F, H, W, 3], waveform [1, C, samples]).
    shape: frame rate and sample rate of the clip.
    """
    for index, label in enumerate(names):
        began = time.perf_counter()
        result = sample_with(index)
        seconds = time.perf_counter() - began
        frames, waveform = (each[0].float().cpu() for each in decode(result.latent))
        score = score_clip(frames, shape.video.fps, waveform, shape.audio.sample_rate)
        cost = result.branches_per_step, result.forwards_per_step
        yield Variant(label, frames, waveform, score, *cost, seconds, result.warnings)


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
