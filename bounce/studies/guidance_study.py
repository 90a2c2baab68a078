"""Which guidance for Bounce: each strategy's scale swept on validation clips, then all of them once on test clips.

Every measurement is a line of `results.jsonl`; one that is there is not made again, so that a killed study goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...av_models.joint_model import JointModel
from ..measure.run_eval import CHOSEN
from .cells import Book, Cell, best
from .tables import attribute, between, table

RESULTS = "results.jsonl"
BOUNCE = CHOSEN["AVFullDiT"]
SCALES = (1.5, 2.5, 4.0, 6.0)
CROSS_SCALES = (1.5, 2.5, 4.0)  # of dual CFG, whose prompt and coupling have a scale each
FEW_STEPS = (4, 6, 10, 20, 50)


def candidates(n: int) -> dict[str, list[Cell]]:
    """What is tried on validation clips, by strategy."""
    cell = partial(Cell, split="val", n=n, steps=BOUNCE.steps, shift=BOUNCE.shift)
    swept = {name: [cell(name, s) for s in SCALES] for name in ("cfg", "joint_cfg", "joint_cfg_star", "apg")}
    dual = [
        cell("dual_cfg", s, settings={"video_cross_scale": x, "audio_cross_scale": x})
        for s in SCALES[:3] for x in CROSS_SCALES if x != s
    ]  # fmt: skip
    return {"none": [cell("none", 1.0)], **swept, "dual_cfg": dual}


def study(model: JointModel, folder: Path, val: int, test: int, on_cell: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The best of each strategy by sync on `val` clips, measured once on `test` clips; and Bounce's own guidance with few
    steps, on validation clips. Returns {"test": {strategy: figures}, "sweep": [figures], "steps": [figures]}.
    """
    tried = candidates(val)
    few = [Cell(BOUNCE.guidance, BOUNCE.scale, "val", val, steps, BOUNCE.shift) for steps in FEW_STEPS]
    total = sum(map(len, tried.values())) + len(few) + len(tried)
    book = Book(model, folder / RESULTS, lambda done, key: on_cell(done, total, key))
    swept = book.sweep(tried)
    return {
        "sweep": [figures for cells in swept.values() for _, figures in cells],
        "steps": [book.figures(cell) for cell in few],
        "test": {name: book.figures(replace(best(cells), split="test", n=test)) for name, cells in swept.items()},
    }


def markdown_table(test: Mapping[str, Mapping[str, Any]]) -> str:
    """The test figures of every strategy, with 95 % intervals."""
    head = ["guidance", "scale", "sync", "colour", "size", "material heard", "number", "motion, px", "branches", "s a clip"]
    rows = [[name, *_figures(each)] for name, each in test.items()]
    return table(head, rows)


def _figures(each: Mapping[str, Any]) -> list[str]:
    scale = " ".join([f"{each['scale']:g}", *(f"× {v:g}" for k, v in each["settings"].items() if k.startswith("video"))])
    return [
        scale, between(each["sync_f1"], each["sync_ci"], "{:.3f}"),
        *(attribute(each, name) for name in ("colour", "size", "material_heard", "count")),
        between(each["motion_residual"], each["motion_residual_ci"], "{:.2f}"),
        f"{each['branches_per_step']:g}", f"{each['seconds_per_clip']:.2f}",
    ]  # fmt: skip


def draw(found: Mapping[str, Any], folder: Path) -> list[str]:
    """sweep.png: sync over the scale of every strategy; steps.png: sync over the number of steps."""
    from matplotlib.figure import Figure

    swept: dict[str, list] = {}
    for each in found["sweep"]:
        swept.setdefault(each["guidance"], []).append(each)
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for number, (name, cells) in enumerate(swept.items()):
        style = {"linestyle": "none"} if name in ("none", "dual_cfg") else {}
        beside = 0.05 * (number - len(swept) / 2)  # intervals that do not hide each other
        _points(axes, [each["scale"] + beside for each in cells], cells, name, **style)
    _dress(axes, f"scale (shuffled pairs: {found['sweep'][0]['chance']:.2f})")
    figure.savefig(folder / "sweep.png")
    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    _points(axes, [each["steps"] for each in found["steps"]], found["steps"], found["steps"][0]["guidance"])
    axes.set_xscale("log")
    axes.set_xticks(FEW_STEPS, [str(steps) for steps in FEW_STEPS])
    axes.set_xticks([], minor=True)
    _dress(axes, "steps")
    figure.savefig(folder / "steps.png")
    return ["sweep.png", "steps.png"]


def _points(axes, x: list[float], cells: list[Mapping[str, Any]], label: str, **style) -> None:
    y = [each["sync_f1"] for each in cells]
    reach = [[v - each["sync_ci"][0] for v, each in zip(y, cells)], [each["sync_ci"][1] - v for v, each in zip(y, cells)]]
    axes.errorbar(x, y, reach, marker="o", capsize=3, linewidth=1.4, label=label, **style)


def _dress(axes, what: str) -> None:
    axes.set_xlabel(what)
    axes.set_ylabel("sync F1 (validation clips, 95 % intervals)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
