"""Stores measurements as lines of JSON, so that an interrupted study can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class LineFile:
    """A file with one JSON object per line. An incomplete last line, left by an interrupted run, is removed.

    lines: the objects of the file, in order. The folder is created if needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        if complete != text:
            path.write_text(complete)
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in complete.splitlines()]

    def add(self, line: Mapping[str, Any]) -> None:
        """Appends one line to the file."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(dict(line))


class ResultStore:
    """Measurements by key. A stored measurement is not repeated."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)
        self.results = {line["key"]: {k: v for k, v in line.items() if k != "key"} for line in self._file.lines}

    def get(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the result of `key`; calls `measure` and stores its result if there is none."""
        if key not in self.results:
            self.results[key] = measure()
            self._file.add({"key": key, **self.results[key]})
        return self.results[key]
