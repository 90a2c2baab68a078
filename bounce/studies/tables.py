"""Figures with their intervals as tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def between(value: float | None, interval: Sequence[float | None], form: str) -> str:
    """A value and its interval, each written as `form` says; a dash where there is none."""
    if value is None:
        return "–"
    return f"{form.format(value)} [{form.format(interval[0])}, {form.format(interval[1])}]"


def attribute(figures: Mapping[str, Any], name: str) -> str:
    """The share of clips of which an attribute is as asked, in per cent."""
    return per_cent(figures["attributes"][name], figures["attributes_ci"][name])


def per_cent(share: float, interval: Sequence[float]) -> str:
    return between(100 * share, [100 * v for v in interval], "{:.0f}")
