"""Pairs the entries of two conditionings, one for the video and one for the audio.

ComfyUI averages the predictions of the entries that are active at a step, weighted by their strengths. If every entry of the
one is paired with every entry of the other, and strengths are multiplied, each stream still gets its own average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Entry = Mapping[str, Any]  # an entry of a conditioning
Times = tuple[float, float]
SHORTEST_GAP = 1e-3  # nodes that split times leave smaller gaps


class Pair(NamedTuple):
    """Two entries, and when and with what strength they are active."""

    video: Entry
    audio: Entry
    times: Times
    strength: float


def pair_entries(video: Sequence[Entry], audio: Sequence[Entry], times: Callable[[Entry], Times]) -> list[Pair]:
    """Returns the pairs of entries that are active together: in order if both lists have the same times and strengths."""

    def activity(entries: Sequence[Entry]) -> list[tuple[Times, float]]:
        return [(times(each), _strength(each)) for each in entries]

    if activity(video) == activity(audio):
        return [Pair(v, a, times(v), _strength(v)) for v, a in zip(video, audio)]
    together = ((v, a, _intersect(times(v), times(a))) for v in video for a in audio)
    return [Pair(v, a, both, _strength(v) * _strength(a)) for v, a, both in together if both[0] < both[1]]


def check_same_times(video: Sequence[Entry], audio: Sequence[Entry]) -> None:
    """Checks that there is a prompt for the video whenever there is one for the audio, and the other way round."""
    names = ("video", "audio")
    for (own, other), entries in zip((names, names[::-1]), ((video, audio), (audio, video))):
        for start, end in _gaps([percents(each) for each in entries[0]], [percents(each) for each in entries[1]]):
            raise ValueError(
                f"{own} has no prompt from {start:g} to {end:g} of the run, and {other} has one; give both the same start and end"
            )


def percents(entry: Entry) -> Times:
    """Returns from when to when an entry is active, as parts of the run."""
    start = max(entry.get("start_percent", 0.0), entry.get("clip_start_percent", 0.0))
    return start, min(entry.get("end_percent", 1.0), entry.get("clip_end_percent", 1.0))


def sigma_times(entry: Entry) -> Times:
    """Returns from when to when a processed entry is active, as negative σ, which rise during a run."""
    return -entry.get("timestep_start", float("inf")), -entry.get("timestep_end", float("-inf"))


def _gaps(covering: Sequence[Times], wanted: Sequence[Times]) -> list[Times]:
    """Returns the parts of `wanted` that are not in `covering`."""
    gaps = list(wanted)
    for start, end in covering:
        gaps = [part for low, high in gaps for part in ((low, min(high, start)), (max(low, end), high)) if part[0] < part[1]]
    return [(low, high) for low, high in gaps if high - low >= SHORTEST_GAP]


def _intersect(a: Times, b: Times) -> Times:
    return max(a[0], b[0]), min(a[1], b[1])


def _strength(entry: Entry) -> float:
    return entry.get("strength", 1.0)
