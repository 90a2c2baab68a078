"""Measures how often the video and the audio of a clip show the same balls: material, size and number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...av_models.metrics.intervals import mean_and_interval, share_and_interval
from ..detect.attributes import Observation, classify_size
from ..world.world import Worlds
from .evaluate import requested_balls
from .fidelity import match_materials

Kinds = frozenset[tuple[str, str]]
"""The distinct (size, material) pairs of a clip. Two balls of one kind count once, because they sound the same."""

ATTRIBUTES: dict[str, Callable[[Kinds], Any]] = {
    "material": lambda kinds: {material for _, material in kinds},
    "size": lambda kinds: {size for size, _ in kinds},
    "number": len,
}


def true_kinds(worlds: Worlds, row: int) -> Kinds:
    """Returns the kinds of balls in one simulated clip."""
    return frozenset((size, material) for _, size, material in requested_balls(worlds, row))


def video_kinds(frames: np.ndarray | Tensor) -> Kinds:
    """Detects the kinds of balls in `frames` [F, H, H, 3] in 0..1."""
    found = match_materials(frames)
    return frozenset((classify_size(track), material) for track, material in zip(found.tracks, found.materials))


def audio_kinds(observed: Observation) -> Kinds:
    """Returns the kinds of balls that were detected in the audio."""
    return frozenset((size, material) for material, size in observed.heard)


def agreement(seen: Sequence[Kinds], heard: Sequence[Kinds]) -> dict[str, Any]:
    """Computes the share of clips whose video and audio agree, for each attribute and on average, with 95 % intervals.

    seen, heard: the kinds detected in the video and in the audio of each clip. A clip without balls does not agree.
    chance: the same share for shuffled pairs, as the mean over all rotations of the audio.
    """
    clips, shares, chance, alike = len(seen), {}, {}, []
    for name, read in ATTRIBUTES.items():
        same = np.array([[bool(a) and read(a) == read(b) for b in heard] for a in seen])
        own = np.diag(same)
        alike.append(own)
        shares[name] = share_and_interval(own.tolist())
        chance[name] = round(float((same.sum() - own.sum()) / (clips * (clips - 1))), 4)
    mean_chance = round(float(np.mean(list(chance.values()))), 4)
    return {"shares": shares, "chance": chance, "mean": _mean_share(np.mean(alike, 0)), "mean_chance": mean_chance}


def _mean_share(each: np.ndarray) -> dict[str, Any]:
    return dict(zip(("share", "ci"), mean_and_interval(each)))
