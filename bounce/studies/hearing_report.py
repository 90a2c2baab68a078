"""The pair study's tables and plots, of what `hearing_study.study` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tables import between, table

PAPER = "AVFullDiT reports +3.14 % (Greatest Hits) and +2.51 % (VGGSound AV-Tight) in physics."
SINGLES = "One seed each, so that a run's own luck is in it; the effect on physics, and on fidelity, in per cent."
LATE = "By how much the picture's error grows where the sound it hears comes half a clip late."
SHOWN = ("colour", "size", "count", "fidelity", "motion")
OF_ARMS = ("physics", *SHOWN, "frechet", "validation_loss")


def markdown_tables(found: Mapping[str, Any]) -> str:
    """Hearing against not in every measure and every subset, then every arm by itself."""
    parts = (
        ("Hearing against not hearing", f"{found['clips']} clips a model, three seeds of each. {PAPER}", _effects(found)),
        ("Physics by what is asked for", "", _subsets(found)),
        ("Looser worlds and other joints", SINGLES, _singles(found)),
        ("What the picture takes from the sound", LATE, _use(found)),
        ("Every model", "", _arms(found)),
    )
    return "\n\n".join("\n\n".join(filter(None, (f"### {title}", text, rows))) for title, text, rows in parts if rows)


def _effects(found: Mapping[str, Any]) -> str:
    effects, truth = found["effects"]["all"], found["arms"]["truth"]
    rows = [[name, f"{truth[name]:.3f}", *_effect(effects[name])] for name in _measures(effects)]
    return table(["measure", "true clips", "T2AV", "T2V", "effect, %"], rows)


def _subsets(found: Mapping[str, Any]) -> str:
    rows = [[name, str(each["n"]), *_effect(each["physics"])] for name, each in found["effects"].items()]
    return table(["clips", "n", "T2AV", "T2V", "effect, %"], rows)


def _singles(found: Mapping[str, Any]) -> str:
    compared = [(kind, measure) for measure in ("physics", "fidelity") for kind in ("t2v", "t2av")]
    rows = [
        [name, *(between(each[kind][measure]["effect"], each[kind][measure]["interval"], "{:+.2f}") for kind, measure in compared)]
        for name, each in found["singles"].items()
    ]
    return table(["model", *(f"{measure} against {kind.upper()}" for kind, measure in compared)], rows) if rows else ""


def _use(found: Mapping[str, Any]) -> str:
    rows = [[name, between(each["use"], each["interval"], "{:+.2f}")] for name, each in found["use"].items()]
    return table(["model", "error, %"], rows)


def _arms(found: Mapping[str, Any]) -> str:
    rows = [[name, *(_of_arm(each, key) for key in OF_ARMS)] for name, each in found["arms"].items()]
    return table(["model", *(key.replace("_", " ") for key in OF_ARMS)], rows)


def _measures(effects: Mapping[str, Any]) -> list[str]:
    """Physics first, then its laws, then the rest."""
    laws = [name for name in effects if name not in ("n", "physics", *SHOWN)]
    return ["physics", *laws, *SHOWN]


def _effect(each: Mapping[str, Any]) -> list[str]:
    return [f"{each['hearing']:.3f}", f"{each['deaf']:.3f}", between(each["effect"], each["interval"], "{:+.2f}")]


def _of_arm(each: Mapping[str, Any], key: str) -> str:
    if key not in each:
        return "–"
    interval = each["intervals"].get(key)
    return between(each[key], interval, "{:.3f}") if interval else f"{each[key]:.4f}"


def draw(found: Mapping[str, Any], folder: Path) -> list[str]:
    """effects.png: the effect of hearing on every measure, and on physics in every subset; arms.png: physics of every arm."""
    from matplotlib.figure import Figure

    effects = found["effects"]
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    names = _measures(effects["all"])
    _forest(left, names, [(effects["all"][n]["effect"], effects["all"][n]["interval"]) for n in names], "effect of hearing, %")
    subsets = [(each["physics"]["effect"], each["physics"]["interval"]) for each in effects.values()]
    _forest(right, list(effects), subsets, "effect of hearing on physics, %")
    figure.savefig(folder / "effects.png")
    arms = {name: each for name, each in found["arms"].items() if name != "truth"}
    figure = Figure(figsize=(6, 0.35 * len(arms) + 1.2), dpi=110, layout="constrained")
    points = [(each["physics"], each["intervals"]["physics"]) for each in arms.values()]
    _forest(figure.subplots(), list(arms), points, "physics, 0 to 6", zero=False)
    figure.savefig(folder / "arms.png")
    return ["effects.png", "arms.png"]


def _forest(axes, names: Sequence[str], points: Sequence[tuple[float, Sequence[float]]], what: str, zero: bool = True) -> None:
    """A point and its 95 % interval a line, the first on top."""
    values = [value for value, _ in points]
    reach = [[value - low for value, (low, _) in points], [high - value for value, (_, high) in points]]
    axes.errorbar(values, range(len(names)), xerr=reach, fmt="o", capsize=3)
    if zero:
        axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"{what} (95 % intervals)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
