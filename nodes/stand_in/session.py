"""One headless run's surroundings: its folders, who hears of its progress, and how it is interrupted."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Folders:
    """Where files are read and written. A file that is given by an existing path is taken from there."""

    output: Path = Path("output")
    input: Path = Path("input")
    models: Path = Path("models")

    def find_input(self, name: str) -> Path:
        return _find(name, self.input)

    def find_model(self, kind: str, name: str) -> Path:
        return _find(name, self.models / kind)

    def list(self, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
        """Files below `folder` with one of `suffixes`, by their names relative to it."""
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


def _nobody(value: float, total: float) -> None:
    pass


@dataclass(frozen=True)
class Session:
    """`on_progress(value, total)` is told how far the running node is; `check_interrupt()` raises to stop the run.

    `on_preview(image)`: where previews are wanted, is shown them.
    """

    folders: Folders = field(default_factory=Folders)
    on_progress: Callable[[float, float], None] = _nobody
    on_preview: Callable[[Image.Image], None] | None = None
    check_interrupt: Callable[[], None] = lambda: None


session: ContextVar[Session] = ContextVar("session", default=Session())
