"""What the hearing study measures of a picture, clip by clip, by what is seen alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...av_models.metrics.intervals import resampled
from ..detect.attributes import size_of
from ..detect.balls import ball_count, find_spots
from ..detect.physics import physics
from ..world.world import FPS, Worlds
from .evaluate import asked_balls
from .fidelity import likeliest


def measure(frames, worlds: Worlds, row: int) -> dict[str, float]:
    """Of one clip [F, H, W, 3] for the prompt of a row: laws kept (0 to 6, and each), attributes as asked, likeness in dB,
    and how far a ball goes between frames, in pixels of a picture 64 wide."""
    found, likest = physics(frames, FPS), likeliest(frames)
    asked = asked_balls(worlds, row)
    shown = {track.colour: track for track in likest.tracks[: len(asked)]}
    steps = [np.linalg.norm(np.diff(track.centre, axis=0), axis=1) for track in likest.tracks]
    moved = np.concatenate([np.zeros(0), *steps])
    sizes = {colour: size_of(track) for colour, track in shown.items()}
    return {
        "physics": float(found.score), **{law: float(kept) for law, kept in found.laws.items()},
        "colour": float(set(shown) == {colour for colour, _, _ in asked}),
        "size": float(all(sizes.get(colour) == size for colour, size, _ in asked)),
        "count": float(np.bincount(ball_count(find_spots(frames), len(frames))).argmax() == len(asked)),
        "fidelity": round(likest.decibels, 3),
        "motion": round(64 * float(np.nanmean(moved)) if np.isfinite(moved).any() else 0.0, 3),
    }  # fmt: skip


def subsets(worlds: Worlds) -> Mapping[str, np.ndarray]:
    """Which prompts ask for clips rich or poor in contacts, and for large or small motion, as bool [N].

    A prompt says no time; but two balls touch floor and walls 4.3 times a clip and one 3.1 times, and rubber and glass go on
    where metal and wood come to rest.
    """
    lively = {"rubber", "glass"}
    share = np.array([np.mean([material in lively for _, _, material in asked_balls(worlds, row)]) for row in range(len(worlds))])
    two = worlds.count == 2
    return {
        "all": np.ones(len(worlds), bool), "contact-rich": two, "contact-poor": ~two,
        "large motion": share == 1, "small motion": share == 0,
    }  # fmt: skip


def paired_effect(hearing: np.ndarray, deaf: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The effect of hearing on a measure [seeds, N], in per cent of the deaf model's mean, with a 95 % interval.

    Seeds and prompts are both resampled, and with them the clips of either model (paired bootstrap over two factors;
    three seeds say little of how much training runs differ, so that the interval is rather too narrow than too wide).
    """
    rng = np.random.default_rng(seed)
    seeds, prompts = (resampled(n, rng) / n for n in hearing.shape)
    drawn_with, drawn_without = (np.einsum("rs,sn,rn->r", seeds, each, prompts) for each in (hearing, deaf))
    with_, without = hearing.mean(), deaf.mean()
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing to compare with, where the deaf model has none
        effect, drawn = (100 * (a / b - 1) for a, b in ((with_, without), (drawn_with, drawn_without)))
        interval = np.percentile(drawn, [2.5, 97.5])
    return {"hearing": float(with_), "deaf": float(without), "effect": float(effect), "interval": interval.tolist()}
