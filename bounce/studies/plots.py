"""Code shared by the plots of all studies. Matplotlib is imported only when a plot is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Interval = Sequence[float]


def new_figure(width: float, height: float) -> Figure:
    """Creates a figure of `width` by `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def error_bars(values: Sequence[float], intervals: Sequence[Interval]) -> list[list[float]]:
    """Converts intervals [low, high] to the distances below and above the values that matplotlib expects."""
    return [[v - low for v, (low, _) in zip(values, intervals)], [high - v for v, (_, high) in zip(values, intervals)]]


def style_axes(axes: Axes) -> None:
    """Adds a light grid and removes the upper and right borders."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
