"""What a node's entry of `object_info` says about its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from duet_av.nodes.headless.inputs import DYNAMIC


def every_input(groups: Mapping[str, Mapping], prefix: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, type, options) of all inputs, those that choices bring too."""
    for kind in ("required", "optional"):
        for name, (io_type, options) in groups.get(kind, {}).items():
            yield prefix + name, io_type, options
            if io_type == DYNAMIC:
                for choice in options["options"]:
                    yield from every_input(choice["inputs"], f"{prefix}{name}.")
