"""Runs a validated workflow: every node that an output node depends on, once, in order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from ...av_models.out_of_memory import is_out_of_memory
from ...av_models.printable import printable
from ..stand_in import Folders, Session, session
from .described import Described
from .file_names import replace_in_file_names
from .inputs import expand, nest
from .validate import order, validate
from .workflow import Catalogue, Node, Workflow

LONGEST_ERROR = 1000  # characters


class RunError(Exception):
    """A node failed. The message is one line that starts with the title of the node."""


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, title: str) -> None: ...

    def update(self, value: float, total: float) -> None: ...

    def stop(self) -> None: ...


class NoProgress:
    """Ignores the progress of a run."""

    def start(self, title: str) -> None:
        pass

    def update(self, value: float, total: float) -> None:
        pass

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    seconds: duration. files: the saved files, in order. shown: the UI output of each node, by its title.
    """

    seconds: float
    files: list[Path] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def reports(self) -> dict[str, dict[str, Any]]:
        """The report of each node, by title: its facts, and its lines as `text`."""
        return {
            title: {**(shown.get("duet") or [{}])[0], "text": list(shown.get("text", []))}
            for title, shown in self.shown.items()
            if "text" in shown or "duet" in shown
        }


def run_workflow(
    workflow: Workflow, catalogue: Catalogue, folders: Folders = Folders(), progress: Progress = NoProgress()
) -> RunResult:
    """Validates `workflow`, then runs it. Raises ValueError if it is invalid, and RunError if a node fails."""
    start = time.perf_counter()
    run_session = Session(folders, progress.update)
    token = session.set(run_session)
    try:
        workflow = replace_in_file_names(validate(workflow, catalogue), catalogue)
        shown = _Run(workflow, catalogue, progress).run()
    finally:
        session.reset(token)
        run_session.delete_temp_folder()
    return RunResult(time.perf_counter() - start, _saved_files(shown, folders), shown)


class _Run:
    """One run of a workflow. Outputs are dropped when no other node needs them."""

    def __init__(self, workflow: Workflow, catalogue: Catalogue, progress: Progress) -> None:
        self.workflow, self.catalogue, self.progress = workflow, catalogue, progress
        self.described = Described(catalogue)
        self.titles = Counter(node.title for node in workflow.nodes.values())
        self.prompt = workflow.prompt()
        self.outputs: dict[str, tuple] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        needed = self._needed_nodes()
        keys = [key for key in order(self.workflow) if key in needed]
        uses = Counter(source for key in keys for source, _ in self.workflow.nodes[key].links.values())
        shown = {}
        for key in keys:
            node = self.workflow.nodes[key]
            self.progress.start(node.title)
            try:
                shown[self._unique_title(node)] = self._run_node(node)
            finally:
                self.progress.stop()
            self._drop_unused([key, *(source for source, _ in node.links.values())], uses)
        return {title: each for title, each in shown.items() if each}

    def _drop_unused(self, keys: list[str], uses: Counter[str]) -> None:
        """Counts down the uses of the sources `keys[1:]` by one each, and drops the outputs of `keys` that have none left."""
        uses.subtract(keys[1:])
        for key in keys:
            if uses[key] <= 0:
                self.outputs.pop(key, None)

    def _needed_nodes(self) -> set[str]:
        """Returns the keys of the output nodes and of all nodes they depend on."""
        nodes = self.workflow.nodes
        needed: set[str] = set()
        waiting = [key for key, node in nodes.items() if self.described.is_output(node.class_type)]
        while waiting:
            key = waiting.pop()
            if key not in needed:
                needed.add(key)
                waiting += [source for source, _ in nodes[key].links.values()]
        return needed

    def _unique_title(self, node: Node) -> str:
        return node.title if self.titles[node.title] == 1 else f"{node.title} ({printable(node.key)})"

    def _run_node(self, node: Node) -> dict[str, Any]:
        cls = self.catalogue[node.class_type]
        specs = expand(self.described.inputs(node.class_type), node.inputs)
        values = node.inputs | {name: self.outputs[source][slot] for name, (source, slot) in node.links.items()}
        clone = cls.clone_for_run({"unique_id": node.key, "prompt": self.prompt})
        try:
            with torch.inference_mode():  # as ComfyUI does
                output = clone.execute(**nest(values, specs))
        except (ValueError, OSError) as error:
            raise RunError(f"{node.title}: {explain(error)}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(f"{node.title}: out of memory; make the clip smaller or shorter, or the batch smaller") from error
        self.outputs[node.key] = output.args
        return output.shown


def explain(error: Exception) -> str:
    """Returns an error as one line, without the error number of the system."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.filename and str(error.filename) not in text:
        text = f"{error.filename}: {text}"
    return printable(text, LONGEST_ERROR)


def _saved_files(shown: Mapping[str, Mapping], folders: Folders) -> list[Path]:
    results = [each for ui in shown.values() for kind in ("images", "audio") for each in ui.get(kind, [])]
    saved = [each for each in results if each.get("type") == "output"]
    return [folders.output / each["subfolder"] / each["filename"] for each in saved]
