"""Counts the network calls that a guider makes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import nn

from .compiled import is_compiled
from .guide_model import guidance_of
from .joined.model import streams_of

KEY = "duet_count"
BOTH = "both"


class CallCount:
    """What is counted of a run.

    calls: calls of all networks. by_streams: the rows of all calls, by what they make. rows: a prompt of a clip is one, also if two
        networks make a stream of it each.
    began: when the first call began.
    """

    def __init__(self) -> None:
        self.calls, self.began = 0, time.perf_counter()
        self.by_streams: Counter[str] = Counter()

    @property
    def rows(self) -> int:
        return max(self.by_streams.values(), default=0)

    def watch(self, streams: str, run: Callable, *args: Any, **kwargs: Any) -> Any:
        """Wraps ComfyUI's call of a network. streams: what it makes."""
        if not self.calls:
            self.began = time.perf_counter()
        options = next(each for each in (*args, *kwargs.values()) if isinstance(each, dict) and "cond_or_uncond" in each)
        self.calls += 1
        self.by_streams[streams] += len(options["cond_or_uncond"])
        return run(*args, **kwargs)


@contextmanager
def counted_calls(guider: Any) -> Iterator[CallCount]:
    """Counts the calls of all networks of a guider. Those that a cache of another node answers do not count."""
    count = CallCount()
    placed = [(each, _place(each), streams) for each, streams in _models(guider)]
    for patcher, place, streams in placed:
        patcher.add_wrapper_with_key(place, KEY, partial(count.watch, streams))
    try:
        yield count
    finally:
        for patcher, place, _ in placed:
            patcher.remove_wrappers_with_key(place, KEY)


def uses_compiled(guider: Any) -> bool:
    """Returns whether ComfyUI compiles one of the networks of a guider."""
    return any(is_compiled(patcher.wrappers) for patcher, _ in _models(guider))


def _models(guider: Any) -> list[tuple[ModelPatcher, str]]:
    """Returns the models of a guider, each once, with the streams that they make: its own, and the bad model of our guidance."""
    own = [each for each in vars(guider).values() if isinstance(each, ModelPatcher)]
    guidances = [guidance_of(each) for each in own]
    bad = [each.bad_patcher for each in guidances if each is not None and each.bad_patcher is not None]
    networks = [network for patcher in (*own, *bad) for network in _networks(patcher)]
    return list({id(patcher): (patcher, streams) for patcher, streams in networks}.values())


def _networks(patcher: ModelPatcher) -> list[tuple[ModelPatcher, str]]:
    joined = streams_of(patcher)
    return [(patcher, BOTH)] if joined is None else [(each.patcher, each.kind.stream) for each in joined]


def _place(patcher: ModelPatcher) -> str:
    """Returns the kind of the wrapper: next to the network where that runs wrappers, or outside of what is compiled."""
    inside = not is_compiled(patcher.wrappers) and _runs_wrappers(patcher.model.diffusion_model)
    return WrappersMP.DIFFUSION_MODEL if inside else WrappersMP.APPLY_MODEL


def _runs_wrappers(network: nn.Module) -> bool:
    """Some of ComfyUI's networks, such as Stable Audio's, never run the wrappers of this kind: theirs would not be called."""
    forwards = (vars(each).get("forward") for each in type(network).__mro__)
    return any("DIFFUSION_MODEL" in getattr(getattr(each, "__code__", None), "co_names", ()) for each in forwards)
