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
