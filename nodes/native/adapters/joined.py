"""A MODEL from Join Models: two models without coupling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ....av_models.contract import CouplingKind
from ....av_models.guidance import Branch, Guidance, describe_without_coupling, without_coupling
from ..joined.bad_model import add_bad_model
from ..joined.prompts import ONLY_KEY, STREAMS_KEY, StreamPrompts, join_processed
from ..joined.streams import Stream, is_flow
from ..pair_prompts import Entry, percents
from ..run_keys import RUN_KEY
from ..shared_calls import active_together
from .base import NativeModel

HIGHEST_TIME = 0.9999  # an EDM model has no σ at time 1
TIMES = frozenset({"start_percent", "end_percent", "clip_start_percent", "clip_end_percent", "strength", "hooks", "control"})


class Joined(NativeModel):
    """A video model and an audio model. Neither affects the other, so coupling full, cut and removed are the same.

    In a branch each model has a row. An EDM, v or ε model with the noise level σ is guided at time σ / (1 + σ), as the flow that
    x / (1 + σ) is.
    """

    name = "a model from Join Models"
    kinds = frozenset(CouplingKind)
    one_call = takes_joined_prompts = True
    skippable = 0

    def __init__(self, model: Any) -> None:
        self.streams = model.streams
        video, audio = self.streams
        self.name = f"{video.kind.name} + {audio.kind.name}"
        self.stream_sizes, self.text_widths = (video.kind.sizes, audio.kind.sizes), frozenset()

    def times(self, sigma: float, transformer_options: Mapping[str, Any]) -> tuple[float, float]:
        level = torch.tensor(sigma, dtype=torch.float64)
        video, audio = (_time(stream, float(stream.sigma(level))) for stream in self.streams)
        return video, audio

    def sigma_at(self, time: float) -> float:
        return time if is_flow(self.streams.video.sampling) else min(time, HIGHEST_TIME) / (1 - min(time, HIGHEST_TIME))

    def audio_scale(self) -> float:
        return self.streams.audio.scale

    def count_calls(self, entries: Sequence[Entry]) -> int:
        """Counts the calls of both networks. Prompts of one stream with the same length, hooks and values share a call."""
        return sum(_most_kinds(list(_entries(entries, name))) for name in ("video", "audio"))

    def frame_rate(self, entries: Iterable[Entry]) -> float:
        """Returns the rate in the video's prompt, or else the usual one of its model."""
        own = [each.get("frame_rate", each.get("fps")) for each in _entries(entries, "video")]
        return next((rate for rate in own if rate), self.streams.video.kind.fps)

    def set_rows(self, options: dict[str, Any], rows: Sequence[Branch | None]) -> None:
        """Does nothing: all rows run alike."""

    def join_prompts(self, video: Sequence[Entry], audio: Sequence[Entry]) -> list[dict[str, Any]]:
        return join_processed(video, audio)

    def limit(self, conds: Sequence[Entry], video: bool, audio: bool) -> Sequence[Entry]:
        if video and audio:
            return conds
        stream = "video" if video else "audio"
        return [{**cond, ONLY_KEY: stream} for cond in conds if cond.get(ONLY_KEY, stream) == stream]

    def simplify(self, strategy: Guidance) -> Guidance:
        return without_coupling(strategy)

    def describe_changes(self, strategy: Guidance) -> list[str]:
        return ["network calls: of both models", *describe_without_coupling(strategy)]

    def add_bad_model(self, guider: Any, bad: ModelPatcher | None) -> dict[str, Any]:
        run = guider.model_options["transformer_options"][RUN_KEY]
        return {} if bad is None else {RUN_KEY: add_bad_model(run, bad)}


def _time(stream: Stream, sigma: float) -> float:
    return sigma if is_flow(stream.sampling) else sigma / (1 + sigma)


def _entries(entries: Iterable[Entry], stream: str) -> Iterator[dict[str, Any]]:
    """Yields the entries of a stream in those of joined conditionings. One that is not joined is that of both."""
    for entry in entries:
        prompts = entry.get(STREAMS_KEY)
        if not isinstance(prompts, StreamPrompts):
            yield dict(entry)
            continue
        for tokens, others in getattr(prompts, stream):
            start, end = zip(percents(entry), percents(others))
            yield {**others, "cross_attn": tokens, "start_percent": max(start), "end_percent": min(end)}


def _most_kinds(entries: Sequence[Entry]) -> int:
    """Returns the largest number of calls of one model that a step needs for these entries."""
    return max((len(set(map(_traits, active))) for active in active_together(entries)), default=1)


def _traits(entry: Entry) -> tuple:
    """Returns what the entries of one call have in common."""
    length = getattr(entry.get("cross_attn"), "shape", ())[1:2]
    values = frozenset(key for key, each in entry.items() if each is not None and key not in TIMES)
    return tuple(length), values, id(entry.get("hooks")), id(entry.get("control"))
