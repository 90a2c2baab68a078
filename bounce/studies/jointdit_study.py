"""The JointDiT study: the ablations of its paper (CVPR 2025, table 4) on Bounce.

Guidance strategies are compared on the shipped model, each at its best scale on validation clips. Models with standard
attention, or without Joint Blocks, are trained with the same config and sampled with the best of these settings. Without
Joint Blocks there are no joint features to align, so that run also has no `align`. Each setting is measured once on test
clips. An interrupted study can be resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...av_models.joint_model import JointModel
from ..binder import load_bounce_bind
from ..measure.run_eval import DEFAULTS, EvalSettings
from ..shipped import BOUNCE_JOINTDIT, load_joint_model
from ..training.stages import read_config
from .eval_runner import EvalRunner, select_best
from .tables import format_attribute, format_interval, format_percent, format_table
from .train_arm import Progress, train_arm

RESULTS = "results.jsonl"
JOINTDIT = DEFAULTS["JointDiT"]
GUIDANCES = {"JointCFG*": "joint_cfg_star", "JointCFG": "joint_cfg", "CFG": "cfg"}
SCALES = (1.5, 2.5, 4.0)
ARMS: Mapping[str, Mapping[str, Any]] = {  # changes to `joint` in the config
    "standard attention": {"attention": "standard"},
    "without Joint Block": {"joint_blocks": 0},
}


def study(config: Path, folder: Path, val: int, test: int, progress: Progress) -> dict[str, Any]:
    """Trains and measures what is not stored yet.

    val, test: numbers of clips per setting. Returns {"test": {row of the table: figures}, "sweep": [figures]}.
    """
    base, binder = read_config(config), load_bounce_bind()

    def make_runner(model: JointModel, total: int, name: str = "") -> EvalRunner:
        return EvalRunner(model, folder / RESULTS, lambda done, key: progress(f"measuring {key}", done, total), binder, name)

    shipped = make_runner(load_joint_model(BOUNCE_JOINTDIT), len(GUIDANCES) * (len(SCALES) + 1))
    swept = shipped.sweep(candidates(val))
    chosen = {name: replace(select_best(results), split="test", n=test) for name, results in swept.items()}
    found = {name: shipped.run(settings) for name, settings in chosen.items()}
    best = select_best([result for results in swept.values() for result in results])
    for name, joint in ARMS.items():
        path = train_arm(name.replace(" ", "_"), arm_config(base, joint), config, folder, progress)
        found[name] = make_runner(load_joint_model(path), 1, name).run(replace(best, split="test", n=test))
    return {"test": found, "sweep": [figures for results in swept.values() for _, figures in results]}


def candidates(n: int) -> dict[str, list[EvalSettings]]:
    """Returns the settings to try on `n` validation clips, by row of the table."""
    settings = partial(EvalSettings, split="val", n=n, steps=JOINTDIT.steps, shift=JOINTDIT.shift, eta=JOINTDIT.eta)
    return {name: [settings(guidance, scale) for scale in SCALES] for name, guidance in GUIDANCES.items()}


def arm_config(base: dict[str, Any], joint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of the parsed config with changes to `joint`. Without Joint Blocks, `align` is removed."""
    config = deepcopy(base)
    config["stage_config"]["joint"] |= joint
    if not config["stage_config"]["joint"]["joint_blocks"]:
        config["stage_config"].pop("align", None)
    return config


def markdown_table(test: Mapping[str, Mapping[str, Any]]) -> str:
    """Formats the test figures of each row, with 95 % intervals.

    The first columns correspond to the paper's FVD, IB-VA and motion score.
    """
    head = ["", "scale", "Fréchet", "similarity", "motion", "sync, normalised", "sync", "first frame", "colour", "material heard"]
    rows = [[name, *_table_row(each)] for name, each in test.items()]
    return format_table(head, rows)


def _table_row(each: Mapping[str, Any]) -> list[str]:
    def mean(name: str) -> str:
        return format_interval(each[name]["mean"], each[name]["ci"], "{:.3f}")

    first = each["first_frame_within_2px"]
    return [
        f"{each['scale']:g}", f"{each['frechet']:.3f}" if "frechet" in each else "–", mean("similarity"), mean("motion"),
        format_interval(each["sync_normalised"], each["sync_normalised_ci"], "{:.2f}"),
        format_interval(each["sync_f1"], each["sync_ci"], "{:.3f}"),
        format_percent(first["share"], first["ci"]), format_attribute(each, "colour"), format_attribute(each, "material_heard"),
    ]  # fmt: skip
