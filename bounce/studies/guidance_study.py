"""The guidance study: sweeps the scale of each strategy on validation clips, then measures each once on test clips.

Each evaluation is stored as a line of `results.jsonl` and not repeated, so that an interrupted study can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...av_models.joint_model import JointModel
from ..measure.run_eval import DEFAULTS, EvalSettings
from .eval_runner import EvalRunner, select_best
from .plots import error_bars, new_figure, style_axes
from .tables import format_attribute, format_interval, format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = "results.jsonl"
BOUNCE = DEFAULTS["AVFullDiT"]
SCALES = (1.5, 2.5, 4.0, 6.0)
CROSS_SCALES = (1.5, 2.5, 4.0)  # dual CFG has one scale for the prompt and one for the coupling
FEW_STEPS = (4, 6, 10, 20, 50)


def candidates(n: int) -> dict[str, list[EvalSettings]]:
    """Returns the settings to try on `n` validation clips, by strategy."""
    settings = partial(EvalSettings, split="val", n=n, steps=BOUNCE.steps, shift=BOUNCE.shift)
    swept = {name: [settings(name, s) for s in SCALES] for name in ("cfg", "joint_cfg", "joint_cfg_star", "apg")}
    dual = [
        settings("dual_cfg", s, extra={"video_cross_scale": x, "audio_cross_scale": x})
        for s in SCALES[:3] for x in CROSS_SCALES if x != s
    ]  # fmt: skip
    return {"none": [settings("none", 1.0)], **swept, "dual_cfg": dual}


def study(model: JointModel, folder: Path, val: int, test: int, on_result: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Runs the study and returns {"test": {strategy: figures}, "sweep": [figures], "steps": [figures]}.

    test: the settings of each strategy with the best sync on `val` validation clips, measured on `test` test clips.
    steps: the default strategy with different numbers of steps, on validation clips.
    on_result: called with (done, total, key).
    """
    tried = candidates(val)
    few = [EvalSettings(BOUNCE.guidance, BOUNCE.scale, steps, BOUNCE.shift, split="val", n=val) for steps in FEW_STEPS]
    total = sum(map(len, tried.values())) + len(few) + len(tried)
    runner = EvalRunner(model, folder / RESULTS, lambda done, key: on_result(done, total, key))
    swept = runner.sweep(tried)
    return {
        "sweep": [figures for results in swept.values() for _, figures in results],
        "steps": [runner.run(settings) for settings in few],
        "test": {name: runner.run(replace(select_best(results), split="test", n=test)) for name, results in swept.items()},
    }


def markdown_table(test: Mapping[str, Mapping[str, Any]]) -> str:
    """Formats the test figures of each strategy, with 95 % intervals."""
    head = ["guidance", "scale", "sync", "colour", "size", "material heard", "number", "motion, px", "branches", "s a clip"]
    rows = [[name, *_table_row(each)] for name, each in test.items()]
    return format_table(head, rows)


def _table_row(each: Mapping[str, Any]) -> list[str]:
    scale = " ".join([f"{each['scale']:g}", *(f"× {v:g}" for k, v in each["settings"].items() if k.startswith("video"))])
    return [
        scale, format_interval(each["sync_f1"], each["sync_ci"], "{:.3f}"),
        *(format_attribute(each, name) for name in ("colour", "size", "material_heard", "count")),
        format_interval(each["motion_residual"], each["motion_residual_ci"], "{:.2f}"),
        f"{each['branches_per_step']:g}", f"{each['seconds_per_clip']:.2f}",
    ]  # fmt: skip


def draw(found: Mapping[str, Any], folder: Path) -> list[str]:
    """Draws sweep.png (sync over the scale of each strategy) and steps.png (sync over the number of steps)."""
    swept: dict[str, list[Mapping[str, Any]]] = {}
    for each in found["sweep"]:
        swept.setdefault(each["guidance"], []).append(each)
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for number, (name, results) in enumerate(swept.items()):
        style = {"linestyle": "none"} if name in ("none", "dual_cfg") else {}
        offset = 0.05 * (number - len(swept) / 2)  # keeps the intervals from overlapping
        _plot_sync(axes, [each["scale"] + offset for each in results], results, name, **style)
    _label_axes(axes, f"scale (shuffled pairs: {found['sweep'][0]['chance']:.2f})")
    figure.savefig(folder / "sweep.png")
    figure = new_figure(6, 4)
    axes = figure.subplots()
    _plot_sync(axes, [each["steps"] for each in found["steps"]], found["steps"], found["steps"][0]["guidance"])
    axes.set_xscale("log")
    axes.set_xticks(FEW_STEPS, [str(steps) for steps in FEW_STEPS])
    axes.set_xticks([], minor=True)
    _label_axes(axes, "steps")
    figure.savefig(folder / "steps.png")
    return ["sweep.png", "steps.png"]


def _plot_sync(axes: Axes, x: list[float], results: list[Mapping[str, Any]], label: str, **style: Any) -> None:
    values = [each["sync_f1"] for each in results]
    bars = error_bars(values, [each["sync_ci"] for each in results])
    axes.errorbar(x, values, bars, marker="o", capsize=3, linewidth=1.4, label=label, **style)


def _label_axes(axes: Axes, x_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel("sync F1 (validation clips, 95 % intervals)")
    style_axes(axes)
    axes.legend(frameon=False)
