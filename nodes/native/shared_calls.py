"""The number of network calls for entries of conditionings: ComfyUI batches entries that have the same traits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from comfy.conds import is_equal

from .ltx_text import LTXText
from .pair_prompts import Entry, percents

SAME_VALUE = ("guide_attention_entries", "ref_audio", "generated_keyframes", "area")
SAME_SIZE = ("keyframe_idxs", "attention_mask")
SAME_OBJECT = ("hooks", "control")


def active_together(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yields the entries that are active at the same step, for every part of a run."""
    for moment in sorted({percents(each)[0] for each in entries}):
        yield [each for each in entries if percents(each)[0] <= moment < percents(each)[1]]


def count_shared_calls(entries: Sequence[Entry], layout: LTXText) -> int:
    """Returns the largest number of calls of LTX-2 that a step needs for these entries."""
    return max((_count_kinds([_traits(each, layout) for each in active]) for active in active_together(entries)), default=0)


def _count_kinds(traits: Sequence[list]) -> int:
    return sum(not any(is_equal(each, other) for other in traits[:index]) for index, each in enumerate(traits))


def _traits(entry: Entry, layout: LTXText) -> list[Any]:
    """Returns what the entries of one call have in common."""
    length = None if entry.get("cross_attn") is None else layout.length(entry)
    sizes = [tuple(getattr(entry.get(key), "shape", ())) for key in SAME_SIZE]
    values = [entry.get("frame_rate", 25), *(entry.get(key) for key in SAME_VALUE)]
    return [length, *(id(entry.get(key)) for key in SAME_OBJECT), *sizes, *values]
