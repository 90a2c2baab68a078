"""The schemas of a catalogue's nodes, each read once: dropdowns list files, and a workflow may have thousands of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .workflow import Catalogue


class Described:
    """The inputs and outputs of nodes by class_type, for one validation or run."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._inputs: dict[str, Mapping[str, Any]] = {}
        self._schemas: dict[str, Any] = {}

    def inputs(self, class_type: str) -> Mapping[str, Any]:
        """Returns the inputs of a node, as in `object_info`."""
        if class_type not in self._inputs:
            self._inputs[class_type] = self.catalogue[class_type].GET_NODE_INFO_V1()["input"]
        return self._inputs[class_type]

    def outputs(self, class_type: str) -> list[Any]:
        """Returns the outputs of a node."""
        return self._schema(class_type).outputs

    def is_output(self, class_type: str) -> bool:
        """Returns whether a node saves or shows results."""
        return self._schema(class_type).is_output_node

    def _schema(self, class_type: str) -> Any:
        if class_type not in self._schemas:
            self._schemas[class_type] = self.catalogue[class_type].GET_SCHEMA()
        return self._schemas[class_type]
