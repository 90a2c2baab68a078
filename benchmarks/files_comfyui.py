"""The operations of the table of files in a real ComfyUI."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from PIL import Image

from ..tests.comfyui.server import Run, Server, named_by_environment
from .file_cells import (
    CORE,
    FAIL,
    LOAD,
    MUX,
    NEW_AUDIO,
    OPERATIONS,
    SCORE,
    Cell,
    check_new_audio,
    check_saved,
    check_score,
    judge,
)
from .files_headless import AUDIO
from .graphs import Graph, load_graph, mux_graph, new_audio_graph, score_graph
from .odd_files import ODD_FILES, Right
from .shown import is_upright, picture_number

ENDS, DIFFERS = "ends", "differs"  # states of cells that `_of_core` decides on
CORE_SLACK = 0.05  # seconds: core begins audio and pictures at the same stamp, whatever the encoder's delay
OUR_FOLDER = "duet-av"  # as in tests/comfyui/server.py


def comfyui_rows(names: list[str], folder: Path) -> Iterator[tuple[str, list[Cell]]]:
    """Yields the cells of each file of `folder`."""
    host = _Host(folder)
    try:
        for name in names:
            cells = {operation: _cell(host, operation, folder / name) for operation in OPERATIONS}
            yield name, [_of_core(operation, cells) for operation in OPERATIONS]
    finally:
        host.stop()


class _Host:
    """A ComfyUI that is started again after it has ended."""

    server: Server

    def __init__(self, inputs: Path) -> None:
        self.inputs, self.running = inputs, None
        self.base: tempfile.TemporaryDirectory | None = None

    def run(self, graph: Graph) -> Run:
        """Runs a graph. Raises AssertionError if ComfyUI refuses it, URLError or OSError if ComfyUI ends."""
        if self.running is None:
            self._start()
        try:
            return self.server.run(graph)
        except OSError:
            self.stop()
            raise

    def _start(self) -> None:
        self.base = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        base = Path(self.base.name)
        self.running: AbstractContextManager[Server] | None = named_by_environment(base)
        self.server = self.running.__enter__()
        shutil.copytree(self.inputs, base / "input", dirs_exist_ok=True)

    def stop(self) -> None:
        if self.running is not None:
            self.running.__exit__(None, None, None)
            self.running = None
        if self.base is not None:
            self.base.cleanup()
            self.base = None


def _cell(host: _Host, operation: str, source: Path) -> Cell:
    right, graphs = ODD_FILES[source.name].right, {SCORE: score_graph, LOAD: load_graph, MUX: mux_graph}
    graph = new_audio_graph(source.name, AUDIO) if operation == NEW_AUDIO else graphs[operation](source.name)
    try:
        run = host.run(graph)
    except AssertionError as error:
        return Cell(CORE, _refusal(str(error)))
    except (URLError, OSError):
        return Cell(ENDS, "ComfyUI ends")
    if not run.succeeded:
        return _error_cell(run, right, operation)
    return _result_cell(run, right, operation, source, host.server)


def _refusal(answer: str) -> str:
    """Returns what ComfyUI says of a graph that it does not run."""
    try:
        errors = json.loads(answer)["node_errors"].values()
    except ValueError:
        return answer[:200]
    return "; ".join(each["details"] for node in errors for each in node["errors"])[:200]


def _error_cell(run: Run, right: Right, operation: str) -> Cell:
    error = run.messages["execution_error"]
    line, ours = run.error, error["node_type"].startswith("Duet")
    raised_by_us = OUR_FOLDER in error["traceback"][-1] or "duet_av" in error["traceback"][-1]
    if not (ours and raised_by_us):
        return Cell(CORE, line.splitlines()[0] if line else error["exception_type"])
    if error["exception_type"].rpartition(".")[2] not in ("ValueError", "OSError", "FileNotFoundError", "WriteError"):
        return Cell(FAIL, f"{error['exception_type']}: {line}")
    return judge(right, operation, None, line)


def _result_cell(run: Run, right: Right, operation: str, source: Path, server: Server) -> Cell:
    wrong = _checked(lambda: _wrong(run, right, operation, source, server))
    cell = judge(right, operation, wrong)
    if operation == SCORE and cell.state == FAIL:
        report = run.outputs["2"]["duet"][0]
        said = [line for line in report.get("warnings", []) if line not in report["clips"][0]["warnings"]]
        return Cell(CORE, f"says: {said[0]}") if said else cell
    return Cell(DIFFERS, cell.text) if operation in (LOAD, MUX) and cell.state == FAIL else cell


def _wrong(run: Run, right: Right, operation: str, source: Path, server: Server) -> list[str]:
    """Returns in what the result of a run differs from what is right."""
    if operation == MUX:
        return check_saved(run.files[0], replace(right, slack=right.slack + CORE_SLACK))
    if operation == NEW_AUDIO:
        (facts,) = run.outputs["3"]["duet"][0]["files"]
        return check_new_audio(source, run.files[0], right, not facts["copied"])
    (facts,) = run.outputs["2" if operation == SCORE else "3"]["duet"][0]["clips"]
    wrong = check_score(facts, right)
    if operation == LOAD and not right.line:
        (shown,) = run.outputs["5"]["images"]
        wrong += _first_picture(server.path(shown), right)
    return wrong


def _checked(check: Any) -> list[str]:
    try:
        return check()
    except Exception as error:
        return [f"the result cannot be read: {error}"]


def _first_picture(path: Path, right: Right) -> list[str]:
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"))
    wrong = [] if min(right.size) < 32 or is_upright(picture) else ["not upright"]
    if right.of and abs(picture_number(picture, right.of) - right.first) > right.of // 60:
        wrong.append(f"picture {picture_number(picture, right.of)} first, not {right.first}")
    return wrong


def _of_core(operation: str, cells: dict[str, Cell]) -> Cell:
    """Decides whether a cell is one of ComfyUI's own nodes: what they load, and what is saved of it."""
    cell, loaded = cells[operation], cells[LOAD]
    if cell.state not in (ENDS, DIFFERS):
        return cell
    is_core = operation == LOAD or (operation == MUX and loaded.state == cell.state)
    return Cell(CORE if is_core else FAIL, cell.text)
