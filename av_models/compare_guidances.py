"""One clip under several guidances: the same noise and prompts, sampled and measured one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from .contract import AVLatent
from .guidance import Guidance
from .metrics.score import Score, score_clip
from .sampling import SampleResult
from .shapes import AVShape


@dataclass(frozen=True)
class Variant:
    """What one guidance made. `frames` [F, H, W, 3] in 0..1, `waveform` [C, samples]; `seconds` of sampling."""

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
    """`sample_with(i)` samples the i-th, from the same start each time; `decode` makes frames and sound."""
    for index, label in enumerate(names):
        began = time.perf_counter()
        result = sample_with(index)
        seconds = time.perf_counter() - began
        frames, waveform = (each[0].float().cpu() for each in decode(result.latent))
        score = score_clip(frames, shape.video.fps, waveform, shape.audio.sample_rate)
        cost = result.branches_per_step, result.forwards_per_step
        yield Variant(label, frames, waveform, score, *cost, seconds, result.warnings)


def label_guidances(strategies: Sequence[Guidance]) -> list[str]:
    """Each strategy's name, what it has of its own where it shares that, and a number where that tells nothing apart."""
    found = []
    for strategy in strategies:
        alike = [other for other in strategies if other.name == strategy.name]
        own = (f" {name} {format_setting(values[alike.index(strategy)])}" for name, values in differing_settings(alike).items())
        found.append(strategy.name + "".join(own))
    return number_duplicates(found)


def number_duplicates(names: Sequence[str]) -> list[str]:
    """Names that are the same, told apart by a number."""
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def differing_settings(strategies: Sequence[Guidance]) -> dict[str, list]:
    """The settings in which strategies differ, with each one's value: None where it has no such setting."""
    settings = dict.fromkeys(field.name for strategy in strategies for field in fields(strategy))
    values = {name: [getattr(strategy, name, None) for strategy in strategies] for name in settings}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each[1:])}


def describe_differences(strategies: Sequence[Guidance]) -> list[str]:
    """For people: one line for each setting in which those that have it differ."""
    lines = []
    for name, values in differing_settings(strategies).items():
        own = [value for strategy, value in zip(strategies, values) if hasattr(strategy, name)]
        if any(value != own[0] for value in own[1:]):
            lines.append(f"{name}: {', '.join(format_setting(value) for value in values)}")
    alike = "only the strategy differs" if len({strategy.name for strategy in strategies}) > 1 else "nothing differs"
    return lines or [alike]


def format_setting(value) -> str:
    """A setting's value in few letters."""
    if value is None:
        return "–"
    points = getattr(value, "points", None)
    if points is not None:
        return " ".join(f"{x:g}:{y:g}" for x, y in points) + (" cubic" if value.interpolation == "monotone_cubic" else "")
    return f"{value:g}"
