"""Measurements as lines of JSON, so that a killed study goes on: a line that a kill cut short is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, in order; none where there is no file. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


class Kept:
    """Measurements by their key: one that is there is not made again."""

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, {figures.pop("key"): figures for figures in read_lines(path)}

    def figures(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self.known:
            self.known[key] = measure()
            add_line(self.path, {"key": key, **self.known[key]})
        return self.known[key]


def add_line(path: Path, facts: Mapping[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(facts) + "\n")
