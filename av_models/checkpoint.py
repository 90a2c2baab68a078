"""Read and write safetensors files with a model card in their metadata. A failed write leaves no file.

A file `NAME.card.json` beside `NAME.safetensors` adds fields to the card or replaces them, without rewriting the weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .recommended import parse_sampling

CARD = "duet"  # metadata key of the model card
SIDECAR_FIELDS = ("name", "licence", "sampling")
M = TypeVar("M", bound=nn.Module)


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write `tensors`, with `card` (JSON-compatible values) as metadata; create missing folders.

    The file is written beside `path` and then renamed. Raises OSError when it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={CARD: json.dumps(card)})
        os.replace(part, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path} ({error}); free some space, or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load the tensors and the model card of a Duet safetensors file.

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or has no model card.
    """
    path = Path(path)
    with open_tensors(path) as file:
        card = _card(path, file)
        return {key: file.get_tensor(key) for key in file.keys()}, card


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the model card only. Raises the same errors as `load_checkpoint`."""
    path = Path(path)
    with open_tensors(path) as file:
        return _card(path, file)


def load_into(module: M, tensors: Mapping[str, Tensor], path: str | Path) -> M:
    """Load `tensors` into `module`, converted to the module's dtypes; return the module.

    Raises ValueError, which names the file `path`, for missing or unexpected keys and for wrong shapes.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: missing keys {format_keys(missing)}, "
            f"unexpected keys {format_keys(unexpected)}; give a file of this architecture"
        )
    for key, value in own.items():
        if value.shape != tensors[key].shape:
            raise ValueError(
                f"{path}: {key} has shape {tuple(tensors[key].shape)}, but {type(module).__name__} needs "
                f"{tuple(value.shape)}; give a file with this configuration"
            )
    module.load_state_dict({key: tensors[key].to(value.dtype) for key, value in own.items()})
    return module


def sub_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors whose keys start with `prefix.`; remove that prefix."""
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert floating-point tensors to fp16, the format of the shipped checkpoints; keep others unchanged."""
    return {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in tensors.items()}


def open_tensors(path: Path) -> Any:
    """Open a safetensors file to read single tensors (`safe_open`).

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; check the name, or put the file there")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); download or copy it again") from error


def _card(path: Path, file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if CARD not in metadata:
        raise ValueError(f"{path} has no Duet model card; give a file that Duet has saved or converted")
    try:
        card = json.loads(metadata[CARD])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a model card that is not valid JSON ({error}); download or copy it again") from error
    sidecar = _read_sidecar(sidecar_file(path))
    parse_sampling((card | sidecar).get("sampling"), sidecar_file(path) if "sampling" in sidecar else path)
    return card | sidecar


def sidecar_file(path: Path) -> Path:
    """Return the path of the file that extends the model card of `path`. It need not exist."""
    return path.with_suffix(".card.json")


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Return the fields of a file that extends a model card, {} if there is none. Raises ValueError if it is wrong."""
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); correct it, or delete it") from error
    if not isinstance(card, dict) or not card.keys() <= set(SIDECAR_FIELDS):
        found = ", ".join(card) if isinstance(card, dict) else repr(card)
        raise ValueError(f"{path} has {found}; give a table with {', '.join(SIDECAR_FIELDS)} only, or delete the file")
    for name in ("name", "licence"):
        if name in card and not (isinstance(card[name], str) and len(card[name].splitlines()) == 1 and card[name].strip()):
            raise ValueError(f"{path}: {name} is {card[name]!r}; give one line of text, or delete the file")
    return card


def format_keys(keys: list[str], most: int = 4) -> str:
    """Format a list of keys for a message: the first `most` of them and the number of the others."""
    if not keys:
        return "none"
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
