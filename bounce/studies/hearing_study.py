"""The hearing study: does training with audio improve the video? The pair study of AVFullDiT (arXiv 2512.02457, section 5).

All models are trained from the same experts on the same clips in the same order, and generate videos for the same prompts
from the same noise. An interrupted study can be resumed: training runs continue, and measurements are stored. The checkpoint
of a model is not needed once the model is measured.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from ...av_models.metrics.intervals import mean_interval
from ..binder import load_bounce_bind
from ..measure.hearing_measures import paired_effect, prompt_subsets
from ..shipped import BOUNCE
from ..training.stages import read_config
from ..world.world import Worlds, simulate
from .hearing_arms import SEEDS, Arm, all_arms, paired_arms
from .hearing_clips import TRUTH, ClipMeasurements
from .train_arm import Progress, checkpoint_path, train_arm

RESULTS = "results.json"
Measured = dict[str, list[dict[str, Any]]]
"""The measures of each clip, by model."""


def study(config: Path, folder: Path, clips: int, progress: Progress, only_pair: bool = False) -> dict[str, Any]:
    """Trains and measures what is not stored in `folder` yet.

    clips: number of test clips per model. only_pair: trains the pair only; other models are included if already measured.
    Returns {"arms": {name: means}, "effects": {subset: {measure: effect}}, "singles": (see `single_effects`),
    "use": {name: {"use", "interval"}}, "clips"}; "use" has the models trained with audio, and Bounce.
    Raises ValueError if `clips` is too small for a Fréchet distance.
    """
    base, binder = read_config(config), load_bounce_bind()
    if clips <= binder.config["out"]:
        raise ValueError(f"clips is {clips}; use more than {binder.config['out']}, which the Fréchet distance needs")
    worlds = simulate(clips, "test", seed=0)
    measurements = ClipMeasurements(folder, worlds, binder, progress)
    planned = all_arms(base["stage_config"]["batch"])
    if only_pair:
        selected = {arm.name for arm in paired_arms(base["stage_config"]["batch"])}
        planned = [arm for arm in planned if arm.name in selected or measurements.is_complete(arm.name, arm.hears)]
    measured = {TRUTH: measurements.measure_truth()}
    for arm in planned:
        if not measurements.is_complete(arm.name, arm.hears):
            train_arm(arm.name, arm_config(base, arm), config, folder, progress)
        measured[arm.name] = measurements.measure_arm(arm)
    hearing = [arm.name for arm in planned if arm.hears]
    use = {name: measurements.measure_audio_use(name, checkpoint_path(name, folder)) for name in hearing}
    use[BOUNCE] = measurements.measure_audio_use(BOUNCE, BOUNCE)
    found = {
        "arms": {name: mean_measures(each) | measurements.figures_of(name) for name, each in measured.items()},
        "effects": subset_effects(measured, worlds), "singles": single_effects(measured), "use": use, "clips": clips,
    }  # fmt: skip
    (folder / RESULTS).write_text(json.dumps(found, indent=1) + "\n")
    return found


def arm_config(base: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """Returns a copy of the parsed config with the changes of `arm`."""
    config = deepcopy(base) | {"seed": arm.seed}
    config["stage_config"] |= arm.stage | {"name": f"Hearing study {arm.name}"}
    config["data"] |= {"sound": arm.sound}
    return config


def mean_measures(clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Computes the mean of each measure over the clips of a model, and "intervals" with the 95 % intervals."""
    values = _values(clips)
    means: dict[str, Any] = {key: float(each.mean()) for key, each in values.items()}
    return means | {"intervals": {key: list(mean_interval(each)) for key, each in values.items()}}


def subset_effects(measured: Measured, worlds: Worlds) -> dict[str, dict[str, Any]]:
    """Computes the effect of audio on each measure over all prompts and seeds, for each subset of the prompts."""
    found: dict[str, dict[str, Any]] = {}
    for subset, where in prompt_subsets(worlds).items():
        rows = np.flatnonzero(where)
        for key in measured[TRUTH][0]:
            hearing, deaf = (_by_seed(measured, kind, rows, key) for kind in ("t2av", "t2v"))
            found.setdefault(subset, {"n": len(rows)})[key] = paired_effect(hearing, deaf)
    return found


def single_effects(measured: Measured) -> dict[str, dict[str, dict[str, Any]]]:
    """Compares each model with one seed to the pair with that seed: {name: {"t2v": {measure: effect}, "t2av": …}}."""
    pair = {f"{kind}_{seed}" for kind in ("t2av", "t2v") for seed in SEEDS}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in measured.keys() - pair - {TRUTH}:
        own = _values(measured[name])
        for kind in ("t2v", "t2av"):
            other = _values(measured[f"{kind}_{SEEDS[0]}"])
            found.setdefault(name, {})[kind] = {key: paired_effect(own[key][None], other[key][None]) for key in own}
    return {name: found[name] for name in measured if name in found}


def _values(clips: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Returns each measure over all clips, [N]."""
    return {key: np.array([clip[key] for clip in clips], float) for key in clips[0]}


def _by_seed(measured: Measured, kind: str, rows: np.ndarray, key: str) -> np.ndarray:
    """Returns a measure of the models trained with audio ("t2av") or without ("t2v"), [seeds, prompts]."""
    return np.array([[measured[f"{kind}_{seed}"][row][key] for row in rows] for seed in SEEDS])
