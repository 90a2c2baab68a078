"""Finds the adapter of a MODEL, and gives a bad model its own weights."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

from .adapters import ADAPTERS, NativeModel


def native_model(patcher: Any, name: str = "model") -> NativeModel:
    """Returns the adapter of a MODEL. Raises ValueError if it is not a joint audio-video model. name: of the node's input."""
    for base, adapter in ADAPTERS.items():
        if isinstance(patcher.model, base):
            return adapter(patcher.model)
    kind, known = type(patcher.model).__name__, " or ".join(adapter.name for adapter in ADAPTERS.values())
    raise ValueError(f"{name} is a {kind}, which is not a joint audio-video model; connect {known}")


def separate_weights(bad: ModelPatcher, model: ModelPatcher) -> ModelPatcher:
    """Returns `bad` with its own copy of the weights, if it shares them with `model`.

    Two MODELs from one loader share their weights, for example with and without a LoRA. Both then have the patches of the MODEL
    that was loaded last. Raises ValueError if they are the same model, or if the weights cannot be copied.
    """
    if bad.model is not model.model:
        return bad
    if bad.patches_uuid == model.patches_uuid:
        raise ValueError("bad_model is the same as model; use a weaker version, such as the model without its LoRA")
    try:
        return bad.clone(force_deepcopy=True)
    except RuntimeError as error:
        raise ValueError(
            f"bad_model shares its weights with model and cannot be copied ({error}); load it with a separate loader"
        ) from error
