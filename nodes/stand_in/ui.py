"""UI outputs of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .io import FolderType


class SavedResult(dict):
    """A saved file: its name, the subfolder, and the root folder it is in."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class PreviewVideo:
    """Videos that are shown on the node."""

    def __init__(self, values: Sequence[SavedResult]) -> None:
        self.values = list(values)

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class SavedImages:
    """Saved images that are shown on the node."""

    def __init__(self, results: Sequence[SavedResult], is_animated: bool = False) -> None:
        self.results, self.is_animated = list(results), is_animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.results} | ({"animated": (True,)} if self.is_animated else {})


class SavedAudios:
    """Saved audio files that are played on the node."""

    def __init__(self, results: Sequence[SavedResult]) -> None:
        self.results = list(results)

    def as_dict(self) -> dict[str, Any]:
        return {"audio": self.results}
