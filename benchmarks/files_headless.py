"""The operations of the table of files without ComfyUI, each in a child process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..av_models.media import read_video, write_video
from ..av_models.metrics.score import score_file
from ..nodes.headless import RunError, RunResult, catalogue, run_workflow
from ..nodes.headless.workflow import Node, Workflow
from ..nodes.stand_in import Folders
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
    clip = read_video(source)
    click, channels = None, 0
    if clip.audio is not None:
        click, channels = click_time(clip.audio.numpy(), clip.sample_rate), len(clip.audio)
    size = (clip.frames.shape[2], clip.frames.shape[1])
    seconds = float((len(clip.frames) - 1) / clip.fps)
    return differences(Shown(len(clip.frames), size, clip.frames[0].numpy(), seconds, click, None, channels), right)


def _mux(source: Path, right: Right, out: Path) -> list[str]:
    """Through the library; and the graph, whose loader gives what ComfyUI's does, runs too."""
    clip, path = read_video(source), out / "library.mp4"
    write_video(clip.frames, path, fps=clip.fps, audio=clip.audio, sample_rate=clip.sample_rate)
    _run(mux_graph(source.name), source.parent, out)
    return cells.check_saved(path, right)


def _new_audio(source: Path, right: Right, out: Path) -> list[str]:
    result = _run(new_audio_graph(source.name, AUDIO), source.parent, out)
    (facts,) = result.reports["DuetReplaceSound"]["files"]
    return cells.check_new_audio(source, result.files[0], right, encoded=not facts["copied"])


def prepare(folder: Path) -> None:
    """Writes what the operations need beside the files."""
    run_in_child(lambda: cells.write_new_audio(folder / AUDIO))


def _run(graph: dict[str, dict[str, Any]], inputs: Path, out: Path) -> RunResult:
    nodes = {key: Node(key, each["class_type"], each["inputs"], each["class_type"]) for key, each in graph.items()}
    return run_workflow(Workflow(nodes), CATALOGUE, Folders(out, inputs, out))


OPERATIONS = {cells.SCORE: _score, cells.LOAD: _load, cells.MUX: _mux, cells.NEW_AUDIO: _new_audio}
