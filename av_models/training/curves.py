"""Training curves: reading, comparing and plotting."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOLERANCE = 0.05  # largest relative difference of the loss for the same config on another machine


def read_curve(path: Path) -> dict[str, list[float]]:
    """Read the columns of a curve.csv by name. Raises ValueError if it has no rows."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} has no rows; train for more steps")
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def compare_curves(shipped: Path, new: Path) -> float | None:
    """Return the largest relative difference of the loss at steps that both curves have; None if they share no step."""
    known = dict(zip(*(read_curve(shipped)[name] for name in ("step", "loss"))))
    curve = read_curve(new)
    return max(
        (abs(loss - known[step]) / abs(known[step]) for step, loss in zip(curve["step"], curve["loss"]) if step in known),
        default=None,
    )


def plot_curve(curve: Path, image: Path) -> None:
    """Plot `curve` to a PNG file: one panel for the losses, and one for each other unit."""
    from matplotlib.figure import Figure

    columns = read_curve(curve)
    steps, seconds = columns.pop("step"), columns.pop("seconds")
    panels = _group_by_unit(list(columns))
    figure = Figure(figsize=(8, 1 + 2.6 * len(panels)), dpi=110, layout="constrained")
    for axes, (unit, names) in zip(figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels.items()):
        for name in names:
            axes.plot(steps, columns[name], label=name, linewidth=1.4)
        _format_axes(axes, unit, [columns[name] for name in names])
    axes.set_xlabel("step")
    figure.suptitle(f"{curve.parent.name}: {steps[-1]:.0f} steps in {seconds[-1] / 60:.1f} minutes")
    figure.savefig(image)


def _group_by_unit(names: list[str]) -> dict[str, list[str]]:
    """Return column names grouped by the unit of their axis."""
    panels: dict[str, list[str]] = {}
    for name in names:
        unit = "dB" if name.endswith("_db") else "root mean square" if name.endswith("_rms") else "loss"
        panels.setdefault(unit, []).append(name)
    return panels


def _format_axes(axes: Axes, unit: str, curves: list[list[float]]) -> None:
    values = [value for curve in curves for value in curve]
    if min(values) > 0 and max(values) / min(values) > 4:
        axes.set_yscale("log")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
