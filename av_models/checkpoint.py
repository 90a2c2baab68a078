"""Safetensors files with a model card in their metadata, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

CARD = "duet"


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write `tensors` with `card` as metadata, beside `path` first, then renamed. OSError where that cannot be done."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={CARD: json.dumps(card)})
        os.replace(part, path)
    except SafetensorError as error:
        raise OSError(f"could not write {path} ({error}); free some space, or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the model card of a file of ours.

    Raises FileNotFoundError where there is none, ValueError where it is no whole safetensors file or has no card.
    """
    path = Path(path)
    with open_tensors(path) as file:
        card = _card(path, file)
        return {key: file.get_tensor(key) for key in file.keys()}, card


def read_card(path: str | Path) -> dict[str, Any]:
    """The model card alone."""
    path = Path(path)
    with open_tensors(path) as file:
        return _card(path, file)


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """Load `tensors` into `module` in its own dtype, or say which keys or shapes of `path` do not fit."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"{path} does not hold a {type(module).__name__}: missing {format_keys(missing)}, unexpected {format_keys(unexpected)}; "
            "give the file that was saved for this architecture"
        )
    for key, value in own.items():
        if value.shape != tensors[key].shape:
            raise ValueError(
                f"{path}: {key} has shape {tuple(tensors[key].shape)}, {type(module).__name__} expects "
                f"{tuple(value.shape)}; give a file saved with this configuration"
            )
    module.load_state_dict({key: tensors[key].to(value.dtype) for key, value in own.items()})
    return module


def sub_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix.`, without it."""
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors as fp16, as shipped checkpoints are."""
    return {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in tensors.items()}


def open_tensors(path: Path):
    """A safetensors file, to read from. FileNotFoundError where there is none, ValueError where it is cut short."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; check the name, or put the file there")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); download or copy it again") from error


def _card(path: Path, file) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if CARD not in metadata:
        raise ValueError(f"{path} has no Duet model card; give a file that Duet saved or converted")
    try:
        return json.loads(metadata[CARD])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a model card that is no JSON ({error}); download or copy it again") from error


def format_keys(keys: list[str], most: int = 4) -> str:
    if not keys:
        return "none"
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
