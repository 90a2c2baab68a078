"""Finds the adapter of a MODEL."""

from __future__ import annotations

from typing import Any

from .adapters import ADAPTERS, NativeModel


def native_model(patcher: Any, name: str = "model") -> NativeModel:
    """Returns the adapter of a MODEL. Raises ValueError if it is not a joint audio-video model. name: of the node's input."""
    for base, adapter in ADAPTERS.items():
        if isinstance(patcher.model, base):
            return adapter(patcher.model)
    *others, last = (adapter.name for adapter in ADAPTERS.values())
    kind, known = type(patcher.model).__name__, f"{', '.join(others)} or {last}"
    raise ValueError(f"{name} is a {kind}, which is not a joint audio-video model; connect {known}")
