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


def compare(
    strategies: Sequence[Guidance],
    sample_with: Callable[[int], SampleResult],
    decode: Callable[[AVLatent], tuple[Tensor, Tensor]],
    shape: AVShape,
) -> Iterator[Variant]:
    """`sample_with(i)` samples with the i-th strategy, from the same start each time; `decode` makes frames and sound."""
    for index, label in enumerate(labels(strategies)):
        began = time.perf_counter()
        result = sample_with(index)
        seconds = time.perf_counter() - began
        frames, waveform = decode(result.latent)
        score = score_clip(frames[0], shape.video.fps, waveform[0], shape.audio.sample_rate)
        yield Variant(label, frames[0], waveform[0], score, result.branches_per_step, result.forwards_per_step, seconds)


def labels(strategies: Sequence[Guidance]) -> list[str]:
    """Each strategy's name, and where it shares that with another what it has of its own."""
    names = [strategy.name for strategy in strategies]
    found = []
    for index, strategy in enumerate(strategies):
        alike = [other for other, name in zip(strategies, names) if name == strategy.name]
        own = "".join(f" {setting} {short(values[alike.index(strategy)])}" for setting, values in differences(alike).items())
        numbered = f" ({strategies[: index + 1].count(strategy)})" if strategies.count(strategy) > 1 else ""
        found.append(f"{strategy.name}{own}{numbered}")
    return found


def differences(strategies: Sequence[Guidance]) -> dict[str, list]:
    """The settings in which strategies differ, with each one's value: None where it has no such setting."""
    settings = dict.fromkeys(field.name for strategy in strategies for field in fields(strategy))
    values = {name: [getattr(strategy, name, None) for strategy in strategies] for name in settings}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each[1:])}


def difference_lines(strategies: Sequence[Guidance]) -> list[str]:
    """For people: one line for each setting that strategies share and differ in."""
    shared = {name: each for name, each in differences(strategies).items() if all(hasattr(s, name) for s in strategies)}
    alike = "only the strategy differs" if len({strategy.name for strategy in strategies}) > 1 else "nothing differs"
    return [f"{name}: {', '.join(short(value) for value in each)}" for name, each in shared.items()] or [alike]


def short(value) -> str:
    """A setting's value in few letters."""
    if value is None:
        return "–"
    points = getattr(value, "points", None)
    if points is not None:
        return " ".join(f"{x:g}:{y:g}" for x, y in points)
    return f"{value:g}"
