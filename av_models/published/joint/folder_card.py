"""What can be said of a diffusers folder without reading its weights: size, settings, missing parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...card_fields import read_table
from ...checkpoint import read_shapes
from ...printable import printable
from ..folder import DiffusersFolder, has_vocabulary

WITHOUT_WEIGHTS = ("scheduler", "tokenizer")


def config_of(folder: DiffusersFolder, component: str, name: str = "config.json") -> dict[str, Any]:
    """Return the settings of a component; {} if it is not there. Raises ValueError if they are not JSON."""
    path = folder.path / component / name
    return read_table(path, "download it again") if path.is_file() else {}


def count_parameters(folder: DiffusersFolder, component: str) -> int:
    """Return the number of values in the safetensors files of a component; 0 if there are none."""
    return sum(math.prod(shape) for file in _weights(folder, component) for shape in read_shapes(file).values())


def size_on_disk(folder: DiffusersFolder) -> int:
    """Return the bytes of all files that the networks are loaded from."""
    return sum(file.stat().st_size for file in folder.files() if file.is_file())


def component_bytes(folder: DiffusersFolder, components: Iterable[str]) -> int:
    """Return the bytes of the safetensors files of components that are there."""
    return sum(file.stat().st_size for name in components for file in _weights(folder, name))


def missing_parts(folder: DiffusersFolder, parts: Mapping[str, str]) -> list[str]:
    """Return what is missing of these components, in words, with the name of its folder or file.

    parts: what each component is, by its subfolder.
    """
    return [f"{words} ({lack})" for component, words in parts.items() if (lack := _lack(folder, component))]


def _lack(folder: DiffusersFolder, component: str) -> str:
    path = folder.path / component
    if component.startswith("tokenizer") and path.is_dir() and not has_vocabulary(path):
        return f"{component}/tokenizer.json"
    if component.startswith(WITHOUT_WEIGHTS):
        return "" if any(file.is_file() for file in path.glob("*.json")) else f"folder {component}"
    weights = _weights(folder, component)
    if not weights:
        return f"folder {component}"
    named = {str(name) for index in path.glob("*.index.json") for name in _named_files(index)}
    absent = sorted(name for name in named if not (path / name).is_file())
    missing = absent if len(absent) < len(named) else []  # else the index of a variant that was not downloaded
    missing += [file.name for file in [*sorted(path.glob("*.safetensors")), path / "config.json"] if not file.is_file()]
    return f"{component}/{printable(missing[0])}" if missing else ""


def _weights(folder: DiffusersFolder, component: str) -> list[Path]:
    """Return the safetensors files of a component that are there. A cache may link to files that are not."""
    if not any((folder.path / component).glob("*.safetensors")):
        return []
    return [file for file in folder.safetensors_files(component) if file.is_file()]


def _named_files(index: Path) -> Iterable[Any]:
    names = read_table(index, "download it again").get("weight_map", {})
    return names.values() if isinstance(names, dict) else ()
