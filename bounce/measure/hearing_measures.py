"""The measures of the hearing study. They use the frames of a clip only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ...av_models.metrics.intervals import draw_resamples
from ..detect.attributes import classify_size
from ..detect.balls import count_balls, find_spots
from ..detect.physics import measure_physics
from ..world.world import FPS, Worlds
from .evaluate import requested_balls
from .fidelity import match_materials


def measure_frames(frames: np.ndarray | Tensor, worlds: Worlds, row: int) -> dict[str, float]:
    """Measures the frames [F, H, W, 3] that were generated for the prompt of row `row`.

    physics: the number of satisfied laws (0 to 6), followed by each law. colour, size, count: 1 if as requested.
    fidelity: PSNR in dB (see `fidelity.py`). motion: mean step of a ball between frames, in pixels of a frame 64 wide.
    """
    found, match = measure_physics(frames, FPS), match_materials(frames)
    requested = requested_balls(worlds, row)
    shown = {track.colour: track for track in match.tracks[: len(requested)]}
    steps = [np.linalg.norm(np.diff(track.centre, axis=0), axis=1) for track in match.tracks]
    moved = np.concatenate([np.zeros(0), *steps])
    sizes = {colour: classify_size(track) for colour, track in shown.items()}
    return {
        "physics": float(found.score), **{law: float(kept) for law, kept in found.laws.items()},
        "colour": float(set(shown) == {colour for colour, _, _ in requested}),
        "size": float(all(sizes.get(colour) == size for colour, size, _ in requested)),
        "count": float(np.bincount(count_balls(find_spots(frames), len(frames))).argmax() == len(requested)),
        "fidelity": round(match.decibels, 3),
        "motion": round(64 * float(np.nanmean(moved)) if np.isfinite(moved).any() else 0.0, 3),
    }  # fmt: skip


def prompt_subsets(worlds: Worlds) -> Mapping[str, np.ndarray]:
    """Selects the prompts of clips with many or few contacts, and with large or small motion. Each subset is bool [N].

    Prompts give no times. Clips with two balls have 4.3 contacts on average and clips with one ball 3.1; rubber and glass
    balls keep bouncing for longer than metal and wood.
    """
    lively = {"rubber", "glass"}
    share = np.array(
        [np.mean([material in lively for _, _, material in requested_balls(worlds, row)]) for row in range(len(worlds))]
    )
    two = worlds.count == 2
    return {
        "all": np.ones(len(worlds), bool), "contact-rich": two, "contact-poor": ~two,
        "large motion": share == 1, "small motion": share == 0,
    }  # fmt: skip


def paired_effect(hearing: np.ndarray, deaf: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Computes the relative difference in per cent between models trained with audio and without, with a 95 % interval.

    hearing, deaf: one measure [seeds, N] of the models with audio and without. The interval is from a paired bootstrap that
    resamples both seeds and prompts. With three seeds only, it probably underestimates the variation of training runs.
    """
    rng = np.random.default_rng(seed)
    seeds, prompts = (draw_resamples(n, rng) / n for n in hearing.shape)
    drawn_with, drawn_without = (np.einsum("rs,sn,rn->r", seeds, each, prompts) for each in (hearing, deaf))
    with_, without = hearing.mean(), deaf.mean()
    with np.errstate(divide="ignore", invalid="ignore"):  # the mean without audio may be 0
        effect, drawn = (100 * (a / b - 1) for a, b in ((with_, without), (drawn_with, drawn_without)))
        interval = np.percentile(drawn, [2.5, 97.5])
    return {"hearing": float(with_), "deaf": float(without), "effect": float(effect), "interval": interval.tolist()}
