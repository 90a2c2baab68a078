"""Formats figures and their intervals as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def format_interval(value: float | None, interval: Sequence[float | None], form: str) -> str:
    """Formats a value and its interval with the format string `form`; None as a dash."""
    if value is None:
        return "–"
    return f"{form.format(value)} [{form.format(interval[0])}, {form.format(interval[1])}]"


def format_attribute(figures: Mapping[str, Any], name: str) -> str:
    """Formats the share of clips with the requested attribute, in per cent."""
    return format_percent(figures["attributes"][name], figures["attributes_ci"][name])


def format_percent(share: float, interval: Sequence[float]) -> str:
    """Formats a share in 0..1 and its interval in per cent."""
    return format_interval(100 * share, [100 * v for v in interval], "{:.0f}")
