"""The bad model of autoguidance for a joined MODEL: another joined MODEL, in which one or both of the models are weaker."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..bad_model import SAME, is_same, remove_step_cache, separate_weights
from .model import join_streams, streams_of
from .parts import Part
from .run import JoinedRun
from .streams import JoinedStreams, Stream, is_flow


def separate_joined_weights(bad: ModelPatcher, model: ModelPatcher) -> ModelPatcher:
    """Returns `bad` with the audio carried as in `model`, and with weights of its own where its models are other ones.

    Raises ValueError if both are the same or of other kinds, or if weights cannot be copied.
    """
    pairs = list(zip(_streams(bad), _streams(model)))
    for own, main in pairs:
        _check_same_kind(own, main)
    if all(is_same(own.patcher, main.patcher) for own, main in pairs):
        raise ValueError(SAME)
    return join_streams(JoinedStreams(*(_separate(own, main) for own, main in pairs)))


def add_bad_model(run: JoinedRun, bad: ModelPatcher) -> JoinedRun:
    """Adds the models of `bad` to a run that is about to begin, and returns what predicts with them.

    They get guiders of their own. A model that is the same in both is loaded once, and has one guider.
    """
    made = copy.copy(run)
    made.streams = _streams(bad)
    made.streams.shapes = run.streams.shapes
    made.parts = [_bad_part(stream, part) for stream, part in zip(made.streams, run.parts)]
    run.add_parts([part for part in made.running if not isinstance(part, SharedPart)])
    return made


class SharedPart(Part):
    """A model that is the same in both. It is prepared as part of the main run."""

    def __init__(self, main: Part) -> None:
        super().__init__(main.stream, main.guider, main.inputs, main.seed)
        self.main = main

    def predict(self, conds: Sequence, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Returns the main model's clean estimates. EasyCache takes one call a step, which is that of the main run."""
        main = copy.copy(self.main)
        assert main.options is not None
        main.options = comfy.model_patcher.create_model_options_clone(main.options)
        remove_step_cache(main.options)
        return main.predict(conds, x, sigma)


def _bad_part(stream: Stream, main: Part) -> Part:
    if main.guider is None:
        return Part(stream, None, main.inputs, main.seed)
    if stream.patcher is main.stream.patcher:
        return SharedPart(main)
    guider = comfy.samplers.CFGGuider(stream.patcher)
    guider.original_conds = {name: _without_hooks(of) for name, of in main.guider.original_conds.items()}
    return Part(stream, guider, main.inputs, main.seed)


def _without_hooks(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Removes hooks, which belong to the main model."""
    return [{key: each for key, each in entry.items() if key != "hooks"} for entry in entries]


def _separate(own: Stream, main: Stream) -> Stream:
    same = is_same(own.patcher, main.patcher)
    return replace(main, patcher=main.patcher if same else separate_weights(own.patcher, main.patcher))


def _check_same_kind(own: Stream, main: Stream) -> None:
    if (own.kind.name, own.kind.sizes, is_flow(own.sampling)) != (main.kind.name, main.kind.sizes, is_flow(main.sampling)):
        raise ValueError(
            f"bad_model has {own.kind.name} for the {main.kind.stream} and model has {main.kind.name}; "
            "use a weaker version of the same model"
        )


def _streams(patcher: Any) -> JoinedStreams:
    streams = streams_of(patcher)
    assert streams is not None
    return streams
