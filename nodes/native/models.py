"""Finds the adapter of a MODEL."""

from __future__ import annotations

from collections.abc import Sequence
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


def guider_model(guiders: Sequence[Any], number: int) -> NativeModel:
    """Returns the adapter of the MODEL of a guider. Raises ValueError if it is not a joint audio-video model."""
    name = "guider" if len(guiders) == 1 else f"guider{number}"  # the node's input
    return native_model(guiders[number].model_patcher, f"the model of {name}")
