"""The operations of the table of files without ComfyUI, each in a child process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..av_models.metrics.score import score_file
from ..nodes.headless import RunError, catalogue, run_workflow
from ..nodes.headless.workflow import Node, Workflow
from ..nodes.stand_in import Folders
from ..nodes.stand_in.video import VideoFromFile
from . import file_cells as cells
from .forked import run_in_child
from .graphs import mux_graph, new_audio_graph
from .odd_files import Right
from .shown import Shown, click_time, differences

CATALOGUE = catalogue()
AUDIO = "new.wav"


def headless_cell(operation: str, source: Path, right: Right) -> cells.Cell:
    """Runs an operation on a file and returns its cell."""
    ended = run_in_child(partial(_try, OPERATIONS[operation], source, right))
    if ended.error:
        return cells.Cell(cells.FAIL, ended.error)
    return cells.judge(right, operation, ended.value["wrong"], ended.value["line"])


def _try(operation: Callable[[Path, Right, Path], list[str]], source: Path, right: Right) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return {"wrong": operation(source, right, Path(folder)), "line": ""}
        except (ValueError, OSError, RunError) as error:
            if not (cells.is_ours(error) or isinstance(error, RunError)):
                raise
            assert not list(Path(folder).rglob("*.part")), "half a file is left"
            return {"wrong": None, "line": str(error)}


def _score(source: Path, right: Right, out: Path) -> list[str]:
    return cells.check_score(score_file(source).facts(), right)


def _load(source: Path, right: Right, out: Path) -> list[str]:
    video = VideoFromFile(source)
    parts = video.get_components()
    images, audio, click, channels = parts.images, parts.audio, None, 0
    if audio is not None:
        wave = audio["waveform"][0].numpy()
        click, channels = click_time(wave, audio["sample_rate"]), len(wave)
    size = (images.shape[2], images.shape[1])
    seconds = (len(images) - 1) / float(parts.frame_rate)
    first = (images[0] * 255).round().byte().numpy()
    shown = Shown(len(images), size, first, seconds, click, None, channels)
    stated = video.get_dimensions()
    return differences(shown, right) + ([] if stated == size else [f"states the size {stated}"])


def _mux(source: Path, right: Right, out: Path) -> list[str]:
    return cells.check_saved(_run(mux_graph(source.name), source.parent, out), right)


def _new_audio(source: Path, right: Right, out: Path) -> list[str]:
    written = _run(new_audio_graph(source.name, AUDIO), source.parent, out)
    return cells.check_new_audio(source, written, right, encoded=False)


def prepare(folder: Path) -> None:
    """Writes what the operations need beside the files."""
    run_in_child(lambda: cells.write_new_audio(folder / AUDIO))


def _run(graph: dict[str, dict[str, Any]], inputs: Path, out: Path) -> Path:
    nodes = {key: Node(key, each["class_type"], each["inputs"], each["class_type"]) for key, each in graph.items()}
    return run_workflow(Workflow(nodes), CATALOGUE, Folders(out, inputs, out)).files[0]


OPERATIONS = {cells.SCORE: _score, cells.LOAD: _load, cells.MUX: _mux, cells.NEW_AUDIO: _new_audio}
