"""The bad model of autoguidance: its weights, and caches that only work for the model of a run."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

STEP_CACHE = "easycache"  # ComfyUI's key of the wrappers of EasyCache, which decides at each call whether to skip a step
SAME = "bad_model is the same as model; use a weaker version, such as the model without its LoRA"


def is_same(bad: ModelPatcher, model: ModelPatcher) -> bool:
    """Returns whether two MODELs have the same weights and the same patches of them."""
    return bad.model is model.model and bad.patches_uuid == model.patches_uuid


def separate_weights(bad: ModelPatcher, model: ModelPatcher) -> ModelPatcher:
    """Returns `bad` with its own copy of the weights, if it shares them with `model`.

    Two MODELs from one loader share their weights, for example with and without a LoRA. Both then have the patches of the MODEL
    that was loaded last. Raises ValueError if they are the same model, or if the weights cannot be copied.
    """
    if bad.model is not model.model:
        return bad
    if is_same(bad, model):
        raise ValueError(SAME)
    try:
        return bad.clone(force_deepcopy=True)
    except RuntimeError as error:
        raise ValueError(
            f"bad_model shares its weights with model and cannot be copied ({error}); load it with a separate loader"
        ) from error


def remove_step_cache(options: dict[str, Any]) -> None:
    """Takes ComfyUI's EasyCache out of model options: it only works where a guider has prepared it, and else keeps what it gets."""
    for wrappers in options["transformer_options"].get("wrappers", {}).values():
        wrappers.pop(STEP_CACHE, None)
