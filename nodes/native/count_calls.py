"""Counts the network calls that a guider makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .compiled import is_compiled
from .guide_model import guidance_of

KEY = "duet_count"


class CallCount:
    """A wrapper of ComfyUI's around the network.

    calls: network calls. rows: of all calls; a prompt of a clip is one. began: when the first call began.
    """

    def __init__(self) -> None:
        self.calls, self.rows, self.began = 0, 0, time.perf_counter()

    def __call__(self, run: Callable, *args: Any, **kwargs: Any) -> Any:
        if not self.calls:
            self.began = time.perf_counter()
        options = next(each for each in (*args, *kwargs.values()) if isinstance(each, dict) and "cond_or_uncond" in each)
        self.calls += 1
        self.rows += len(options["cond_or_uncond"])
        return run(*args, **kwargs)


@contextmanager
def counted_calls(guider: Any) -> Iterator[CallCount]:
    """Counts the calls of all networks of a guider. Those that a cache of another node answers do not count."""
    count = CallCount()
    placed = [(each, _place(each)) for each in _models(guider)]
    for patcher, place in placed:
        patcher.add_wrapper_with_key(place, KEY, count)
    try:
        yield count
    finally:
        for patcher, place in placed:
            patcher.remove_wrappers_with_key(place, KEY)


def _models(guider: Any) -> list[ModelPatcher]:
    """Returns the models of a guider, each once: its own, and the bad model of our guidance."""
    own = [each for each in vars(guider).values() if isinstance(each, ModelPatcher)]
    guidances = [guidance_of(each) for each in own]
    bad = [each.bad_patcher for each in guidances if each is not None and each.bad_patcher is not None]
    return list({id(each): each for each in (*own, *bad)}.values())


def _place(patcher: ModelPatcher) -> str:
    """Returns the kind of the wrapper: next to the network, or outside of what is compiled."""
    return WrappersMP.APPLY_MODEL if is_compiled(patcher.wrappers) else WrappersMP.DIFFUSION_MODEL
