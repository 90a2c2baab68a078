"""How far the picture and the sound of clips tell of the same balls: material, size and number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...av_models.metrics.intervals import mean_and_interval, share
from ..detect.attributes import Observation, size_of
from ..world.world import Worlds
from .evaluate import asked_balls
from .fidelity import likeliest

Kinds = frozenset[tuple[str, str]]
"""The different (size, material) of a clip's balls: two balls alike are one kind, as they are to the ear."""

ALIKE: dict[str, Callable[[Kinds], Any]] = {
    "material": lambda kinds: {material for _, material in kinds},
    "size": lambda kinds: {size for size, _ in kinds},
    "number": len,
}


def true_kinds(worlds: Worlds, row: int) -> Kinds:
    return frozenset((size, material) for _, size, material in asked_balls(worlds, row))


def seen_kinds(frames) -> Kinds:
    """Of a clip [F, H, H, 3] in 0..1: its balls as they are followed, in the materials that they most look to be of."""
    found = likeliest(frames)
    return frozenset((size_of(track), material) for track, material in zip(found.tracks, found.materials))


def heard_kinds(observed: Observation) -> Kinds:
    return frozenset((size, material) for material, size in observed.heard)


def agreement(seen: Sequence[Kinds], heard: Sequence[Kinds]) -> dict[str, Any]:
    """The share of clips of which both tell the same, for each attribute, with a 95 % interval, and what shuffled pairs get:
    the mean over every rotation of the sounds. `mean`: of the three attributes. Where nothing is seen or nothing heard,
    nothing agrees."""
    clips, shares, chance, alike = len(seen), {}, {}, []
    for name, of in ALIKE.items():
        same = np.array([[bool(a) and of(a) == of(b) for b in heard] for a in seen])
        own = np.diag(same)
        alike.append(own)
        shares[name] = share(own.tolist())
        chance[name] = round(float((same.sum() - own.sum()) / (clips * (clips - 1))), 4)
    mean_chance = round(float(np.mean(list(chance.values()))), 4)
    return {"shares": shares, "chance": chance, "mean": _mean(np.mean(alike, 0)), "mean_chance": mean_chance}


def _mean(each: np.ndarray) -> dict[str, Any]:
    return dict(zip(("share", "ci"), mean_and_interval(each)))
