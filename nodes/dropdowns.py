"""Dropdowns whose choices bring inputs of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def require_choice(name: str, chosen: Any, choices: Iterable[str]) -> dict[str, Any]:
    """Returns the choice with its inputs. Raises ValueError if it is none of `choices`: ComfyUI does not check them."""
    if not isinstance(chosen, dict):
        raise ValueError(f"{name} has a value that the node does not offer; choose one of {', '.join(choices)}")
    return chosen
