"""What JointDiT's parts are worth: the ablations of its paper (CVPR 2025, table 4) on Bounce.

Guidances are compared on the model that ships, each at the scale that is best on validation clips; what has a standard
attention, or no Joint Block, is trained by the same config and sampled as the best of them. Without Joint Blocks there are
none whose features could be drawn to the truth, so that this arm lacks `align` too. Test clips are run once. A killed study
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..binder import load_bounce_bind
from ..measure.run_eval import CHOSEN
from ..shipped import BOUNCE_JOINTDIT, load_joint_model
from ..training.stages import read_config
from .cells import Book, Cell, best
from .tables import attribute, between, per_cent, table
from .train_arm import Progress, train_arm

RESULTS = "results.jsonl"
JOINTDIT = CHOSEN["JointDiT"]
GUIDANCES = {"JointCFG*": "joint_cfg_star", "JointCFG": "joint_cfg", "CFG": "cfg"}
SCALES = (1.5, 2.5, 4.0)
ARMS: Mapping[str, Mapping[str, Any]] = {  # what each changes in the config's `joint`
    "standard attention": {"attention": "standard"},
    "without Joint Block": {"joint_blocks": 0},
}


def study(config: Path, folder: Path, val: int, test: int, progress: Progress) -> dict[str, Any]:
    """Trains and measures what is not there yet; returns {"test": {row of the table: figures}, "sweep": [figures]}."""
    binder = load_bounce_bind()

    def book(model, total: int, arm: str = "") -> Book:
        return Book(model, folder / RESULTS, lambda done, key: progress(f"measuring {key}", done, total), binder, arm)

    shipped = book(load_joint_model(BOUNCE_JOINTDIT), len(GUIDANCES) * (len(SCALES) + 1))
    swept = shipped.sweep(candidates(val))
    chosen = {name: replace(best(cells), split="test", n=test) for name, cells in swept.items()}
    found = {name: shipped.figures(cell) for name, cell in chosen.items()}
    settings, sampled = read_config(config), best([each for cells in swept.values() for each in cells])
    for name, joint in ARMS.items():
        path = train_arm(name.replace(" ", "_"), changed(settings, joint), config, folder, progress)
        found[name] = book(load_joint_model(path), 1, name).figures(replace(sampled, split="test", n=test))
    return {"test": found, "sweep": [figures for cells in swept.values() for _, figures in cells]}


def candidates(n: int) -> dict[str, list[Cell]]:
    """What is tried on validation clips, by row of the table."""
    cell = partial(Cell, split="val", n=n, steps=JOINTDIT.steps, shift=JOINTDIT.shift, eta=JOINTDIT.eta)
    return {name: [cell(guidance, scale) for scale in SCALES] for name, guidance in GUIDANCES.items()}


def changed(settings: dict[str, Any], joint: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with other Joint Blocks; without any, there are none whose features could be drawn to the truth."""
    own = deepcopy(settings)
    own["stage_config"]["joint"] |= joint
    if not own["stage_config"]["joint"]["joint_blocks"]:
        own["stage_config"].pop("align", None)
    return own


def markdown_table(test: Mapping[str, Mapping[str, Any]]) -> str:
    """The test figures of every row, with 95 % intervals; what stands for the paper's FVD, IB-VA and motion first."""
    head = ["", "scale", "Fréchet", "similarity", "motion", "sync, normalised", "sync", "first frame", "colour", "material heard"]
    rows = [[name, *_figures(each)] for name, each in test.items()]
    return table(head, rows)


def _figures(each: Mapping[str, Any]) -> list[str]:
    def mean(name: str) -> str:
        return between(each[name]["mean"], each[name]["ci"], "{:.3f}")

    first = each["first_frame_within_2px"]
    return [
        f"{each['scale']:g}", f"{each['frechet']:.3f}" if "frechet" in each else "–", mean("similarity"), mean("motion"),
        between(each["sync_normalised"], each["sync_normalised_ci"], "{:.2f}"),
        between(each["sync_f1"], each["sync_ci"], "{:.3f}"),
        per_cent(first["share"], first["ci"]), attribute(each, "colour"), attribute(each, "material_heard"),
    ]  # fmt: skip
