"""Finds LoRA files by name."""

from __future__ import annotations

from pathlib import Path

from .host import LORAS, files_of


def find_lora(name: str) -> Path:
    """Returns the LoRA file called `name`. Raises FileNotFoundError if it does not exist."""
    files = files_of(LORAS)
    if name not in files:
        raise FileNotFoundError(f"LoRA {name!r} was not found in models/{LORAS}; put it there, or choose another")
    return files[name]
