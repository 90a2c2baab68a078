"""Loads the models of a pair together, so that ComfyUI's memory management sees both before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
from comfy.hooks import EnumHookType, HookGroup
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key, merge_nested_dicts

LOADED_KEY = "duet_loaded"


class StreamLoading:
    """Loads the models of guiders. They run one after the other, so a step needs the memory of the one that needs more.

    runs: each guider, and the size of its noise.
    """

    def __init__(self, runs: Sequence[tuple[Any, Any]]) -> None:
        self.runs = runs
        self.needed: list[tuple[float, float]] = []
        self.others: list[Any] = []

    def load(self) -> list[Any]:
        """Loads the models, and what their prompts need beside them, such as controls. Returns what was loaded."""
        self.needed, self.others = [], []
        for guider, shape in self.runs:
            options = comfy.model_patcher.create_model_options_clone(guider.model_options)
            wrappers = options["transformer_options"].setdefault("wrappers", {})
            merge_nested_dicts(wrappers, guider.model_patcher.wrappers, copy_dict1=False)
            add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, LOADED_KEY, self._estimate, options["transformer_options"])
            conds = guider.original_conds
            comfy.sampler_helpers.prepare_sampling(guider.model_patcher, shape, conds, model_options=options)
        if not self.runs:
            return []
        models = [guider.model_patcher for guider, _ in self.runs]
        required, minimum = (max(each) for each in zip(*self.needed))
        loaded = [*models, *self.others]
        comfy.model_management.load_models_gpu(loaded, memory_required=required, minimum_memory_required=minimum)
        return loaded

    def options_of(self, guider: Any) -> dict[str, Any]:
        """Returns the model options of a guider, under which ComfyUI does not load its model anew."""
        options = comfy.model_patcher.create_model_options_clone(guider.model_options)
        add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, LOADED_KEY, _keep_loaded, options["transformer_options"])
        return options

    def _estimate(
        self, prepare: Callable, model: Any, noise_shape: Any, conds: Any, model_options: Any = None, **kwargs: Any
    ) -> tuple[Any, Any, list]:
        """Takes the place of ComfyUI's `prepare_sampling`, inside the model's own wrappers, which may change `noise_shape`."""
        model.match_multigpu_clones()
        comfy.sampler_helpers.preprocess_multigpu_conds(conds, model, model_options)
        beside, memory = _models_beside(model, conds)
        self.others += beside
        required, minimum = comfy.sampler_helpers.estimate_memory(model, list(noise_shape), conds)
        self.needed.append((required + memory, minimum + memory))
        return model.model, conds, beside


def _models_beside(model: Any, conds: Any) -> tuple[list[Any], int]:
    """Returns the models that run with one: of its prompts, of their hooks, and its own; and the memory that they work in."""
    models, memory = comfy.sampler_helpers.get_additional_models(conds, model.model_dtype())
    hooks = HookGroup()
    for of in conds.values():
        comfy.sampler_helpers.get_hooks_from_cond(of, hooks)
    added = [each for hook in hooks.get_type(EnumHookType.AdditionalModels) for each in hook.models or ()]
    return [*models, *added, *model.get_nested_additional_models()], memory


def _keep_loaded(prepare: Callable, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any, list]:
    return model.model, conds, _models_beside(model, conds)[0]
