"""A curve over the steps of a run, with the same interpolation as ComfyUI's curve editor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["monotone_cubic", "linear"]


@dataclass(frozen=True)
class Curve:
    """A curve through `points` (x, y), with x from 0 (first step) to 1 (last step).

    Before its first point and after its last point the curve is constant. "monotone_cubic" interpolation is that of
    Fritsch & Carlson (SIAM J. Numer. Anal. 17, 1980): it does not overshoot the points.
    Raises ValueError if there are no points, if a coordinate is not finite, or if an x is outside 0..1.
    """

    points: tuple[tuple[float, float], ...]
    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("the curve has no points; add at least one")
        for point in self.points:
            if not all(math.isfinite(value) for value in point) or not 0 <= point[0] <= 1:
                raise ValueError(f"the curve's point {point} is not finite or its x is outside 0 to 1; move the point")
        if self.interpolation not in ("monotone_cubic", "linear"):
            raise ValueError(f"the curve's interpolation is {self.interpolation!r}; choose monotone_cubic or linear")
        object.__setattr__(self, "points", tuple(sorted((float(x), float(y)) for x, y in self.points)))

    @property
    def constant(self) -> float | None:
        """The curve's value if it is the same everywhere, else None."""
        values = {y for _, y in self.points}
        return values.pop() if len(values) == 1 else None

    def __call__(self, x: float) -> float:
        """Return y at `x`."""
        left = [i for i, point in enumerate(self.points) if point[0] <= x]
        if not left:
            return self.points[0][1]
        if left[-1] == len(self.points) - 1:
            return self.points[-1][1]
        start = left[-1]
        (x0, y0), (x1, y1) = self.points[start : start + 2]
        if y0 == y1:  # exactly equal: a strength of exactly 1 needs no second network row
            return y0
        u, width = (x - x0) / (x1 - x0), x1 - x0
        if self.interpolation == "linear":
            return y0 + u * (y1 - y0)
        m0, m1 = _slopes(self.points)[start : start + 2]
        return (
            (1 + 2 * u) * (1 - u) ** 2 * y0 + u * (1 - u) ** 2 * width * m0
            + u**2 * (3 - 2 * u) * y1 - u**2 * (1 - u) * width * m1
        )  # fmt: skip


def _slopes(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return a slope for each point such that every segment is monotone."""
    secants = [(y1 - y0) / (x1 - x0) if x1 > x0 else 0.0 for (x0, y0), (x1, y1) in zip(points, points[1:])]
    inner = [(a + b) / 2 if a * b > 0 else 0.0 for a, b in zip(secants, secants[1:])]
    slopes = [secants[0], *inner, secants[-1]]
    for i, secant in enumerate(secants):
        if secant == 0:
            slopes[i] = slopes[i + 1] = 0.0
            continue
        a, b = slopes[i] / secant, slopes[i + 1] / secant
        if a * a + b * b > 9:
            shorter = 3 / math.hypot(a, b)
            slopes[i], slopes[i + 1] = shorter * a * secant, shorter * b * secant
    return slopes
