"""Ratios of times with their intervals, and the section of a page that a benchmark writes."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..av_models.metrics.intervals import median_interval

START, END = "<!-- benchmark -->", "<!-- end of benchmark -->"


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median of the ratios of paired times, and its interval."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return (statistics.median(ratios), *median_interval(ratios))


def cell(ratio: tuple[float, float, float], aim: float | None = None) -> str:
    """Writes a ratio with its interval, and what it should not exceed, if that is given."""
    median, low, high = (f"{each:.2f}" for each in ratio)
    if aim is None:
        return f"{median} [{low}, {high}]"
    return f"{median} [{low}, {high}], aim {aim:.2f}{' reached' if float(median) <= aim else ''}"


def replace_section(page: str, section: str) -> str:
    """Returns a page with `section` in place of the one between the marks, or at its end."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before.rstrip()}\n\n{START}\n{section.strip()}\n{END}\n{after.lstrip()}"


def commit(folder: Path) -> str:
    """Returns the short name of a checkout's commit."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
