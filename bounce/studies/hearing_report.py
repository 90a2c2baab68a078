"""The tables and plots of the hearing study, from the results of `hearing_study.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plots import Interval, error_bars, new_figure, style_axes
from .tables import format_interval, format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER = "AVFullDiT reports +3.14 % (Greatest Hits) and +2.51 % (VGGSound AV-Tight) in physics."
SINGLES = "One seed each, so the effects include the variation between training runs. Effect on physics and fidelity in per cent."
LATE = "Increase of the video error if the audio is shifted by half a clip."
SHOWN = ("colour", "size", "count", "fidelity", "motion")
ARM_COLUMNS = ("physics", *SHOWN, "frechet", "validation_loss")
EFFECT_COLUMNS = ("T2AV", "T2V", "effect, %")


def markdown_tables(found: Mapping[str, Any]) -> str:
    """Formats the effect of audio on all measures and in all subsets, and the measures of each model."""
    parts = (
        ("Trained with and without audio", f"{found['clips']} clips per model, three seeds each. {PAPER}", _effects(found)),
        ("Physics by subset of the prompts", "", _subsets(found)),
        ("Changed audio and ablations", SINGLES, _singles(found)),
        ("Use of the audio by the video", LATE, _use(found)),
        ("All models", "", _arms(found)),
    )
    return "\n\n".join("\n\n".join(filter(None, (f"### {title}", text, rows))) for title, text, rows in parts if rows)


def _effects(found: Mapping[str, Any]) -> str:
    effects, truth = found["effects"]["all"], found["arms"]["truth"]
    rows = [[name, f"{truth[name]:.3f}", *_effect(effects[name])] for name in _measures(effects)]
    return format_table(["measure", "simulated clips", *EFFECT_COLUMNS], rows)


def _subsets(found: Mapping[str, Any]) -> str:
    rows = [[name, str(each["n"]), *_effect(each["physics"])] for name, each in found["effects"].items()]
    return format_table(["clips", "n", *EFFECT_COLUMNS], rows)


def _singles(found: Mapping[str, Any]) -> str:
    compared = [(kind, measure) for measure in ("physics", "fidelity") for kind in ("t2v", "t2av")]
    rows = [[name, *(_format_effect(each[kind][measure]) for kind, measure in compared)] for name, each in found["singles"].items()]
    return format_table(["model", *(f"{measure} vs {kind.upper()}" for kind, measure in compared)], rows) if rows else ""


def _use(found: Mapping[str, Any]) -> str:
    rows = [[name, format_interval(each["use"], each["interval"], "{:+.2f}")] for name, each in found["use"].items()]
    return format_table(["model", "error, %"], rows)


def _arms(found: Mapping[str, Any]) -> str:
    rows = [[name, *(_format_mean(each, key) for key in ARM_COLUMNS)] for name, each in found["arms"].items()]
    return format_table(["model", *(key.replace("_", " ") for key in ARM_COLUMNS)], rows)


def _measures(effects: Mapping[str, Any]) -> list[str]:
    """Returns the names of the measures: physics, its laws, and the others."""
    laws = [name for name in effects if name not in ("n", "physics", *SHOWN)]
    return ["physics", *laws, *SHOWN]


def _effect(each: Mapping[str, Any]) -> list[str]:
    return [f"{each['hearing']:.3f}", f"{each['deaf']:.3f}", _format_effect(each)]


def _format_effect(each: Mapping[str, Any]) -> str:
    return format_interval(each["effect"], each["interval"], "{:+.2f}")


def _format_mean(each: Mapping[str, Any], key: str) -> str:
    if key not in each:
        return "–"
    interval = each["intervals"].get(key)
    return format_interval(each[key], interval, "{:.3f}") if interval else f"{each[key]:.4f}"


def draw(found: Mapping[str, Any], folder: Path) -> list[str]:
    """Draws effects.png (effect of audio on all measures, and on physics by subset) and arms.png (physics of each model)."""
    effects = found["effects"]
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    names = _measures(effects["all"])
    _forest_plot(left, names, [_point(effects["all"][name]) for name in names], "effect of audio, %")
    _forest_plot(right, list(effects), [_point(each["physics"]) for each in effects.values()], "effect of audio on physics, %")
    figure.savefig(folder / "effects.png")
    arms = {name: each for name, each in found["arms"].items() if name != "truth"}
    figure = new_figure(6, 0.35 * len(arms) + 1.2)
    points = [(each["physics"], each["intervals"]["physics"]) for each in arms.values()]
    _forest_plot(figure.subplots(), list(arms), points, "physics, 0 to 6", zero=False)
    figure.savefig(folder / "arms.png")
    return ["effects.png", "arms.png"]


def _point(effect: Mapping[str, Any]) -> tuple[float, Interval]:
    return effect["effect"], effect["interval"]


def _forest_plot(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, Interval]], label: str, zero: bool = True) -> None:
    """Draws one line per name with its value and 95 % interval, the first on top. `zero`: draws a line at 0."""
    values = [value for value, _ in points]
    bars = error_bars(values, [interval for _, interval in points])
    axes.errorbar(values, range(len(names)), xerr=bars, fmt="o", capsize=3)
    if zero:
        axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"{label} (95 % intervals)")
    style_axes(axes)
