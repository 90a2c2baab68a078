"""The settings of a headless run: folders, progress callbacks and interruption."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class Folders:
    """Folders for reading and writing. A file name that is an existing path is used as it is."""

    output: Path = Path("output")
    input: Path = Path("input")
    models: Path = Path("models")

    def find_input(self, name: str) -> Path:
        return _find(name, self.input)

    def find_model(self, kind: str, name: str) -> Path:
        return _find(name, self.models / kind)

    def list(self, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
        """Returns the files in `folder` and its subfolders with one of `suffixes`, as paths relative to it."""
        if not folder.is_dir():
            return []
        found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
        return sorted(path.relative_to(folder).as_posix() for path in found)


def _find(name: str, folder: Path) -> Path:
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"file {name!r} was not found in the current folder or in {folder}; check the name, or put the file there"
    )


def _ignore_progress(value: float, total: float) -> None:
    pass


@dataclass(frozen=True)
class Session:
    """The callbacks and folders of a run.

    on_progress(value, total): receives the progress of the running node.
    on_preview(preview): receives live previews, the events that ComfyUI's page gets; None turns them off.
    check_interrupt(): raises an exception to stop the run.
    """

    folders: Folders = field(default_factory=Folders)
    on_progress: Callable[[float, float], None] = _ignore_progress
    on_preview: Callable[[dict[str, Any]], None] | None = None
    check_interrupt: Callable[[], None] = lambda: None

    @cached_property
    def temp_folder(self) -> Path:
        """A folder for temporary files. It is deleted by `delete_temp_folder`, or at the end of the process."""
        return Path(self._temporary.name)

    @cached_property
    def _temporary(self) -> TemporaryDirectory:
        return TemporaryDirectory(prefix="duet-")

    def delete_temp_folder(self) -> None:
        """Deletes the temporary files of the run, if there are any."""
        if "_temporary" in vars(self):
            self._temporary.cleanup()


session: ContextVar[Session] = ContextVar("session", default=Session())
