"""ComfyUI's model options under which `calc_cond_batch` predicts the rows of one call, or one branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import comfy.model_patcher
import comfy.utils
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...av_models.contract import FULL, AVLatent, combine_couplings
from ...av_models.guidance import Branch
from .adapters import NativeModel
from .bad_model import STEP_CACHE
from .compiled import PASS_KEY, separate_graphs
from .joined.model import streams_of
from .rows import rows_of

REPLACES_CFG = ("sampler_cfg_function", "sampler_pre_cfg_function")
REPLACES_CALLS = "sampler_calc_cond_batch_function"  # has an effect on the models of a joined MODEL


def has_cfg_patches(model: ModelPatcher) -> bool:
    """Returns whether a MODEL has a patch of another node that has no effect with our guidance."""
    options = [model.model_options, *(stream.patcher.model_options for stream in streams_of(model) or ())]
    return REPLACES_CALLS in model.model_options or any(key in each for each in options for key in REPLACES_CFG)


def call_options(model: NativeModel, rows: Sequence[Branch | None], options: Mapping[str, Any], is_first: bool) -> dict[str, Any]:
    """Returns a copy of ComfyUI's model options, changed for a call with these rows.

    rows: one for each conditioning, in ComfyUI's order, or a single one for all.
    is_first: whether it is the model's first call of a step.
    """
    changed = comfy.model_patcher.create_model_options_clone(options)
    transformer = changed.setdefault("transformer_options", {})
    run = [row for row in rows if row is not None]
    if run[0].model == "bad":
        changed.pop("multigpu_clones", None)
    if not is_first:  # ComfyUI's EasyCache decides at every call whether to skip the step; it must do so once a step
        transformer.get("wrappers", {}).get(WrappersMP.CALC_COND_BATCH, {}).pop(STEP_CACHE, None)
    if not all(map(is_plain, run)):
        transformer[PASS_KEY] = tuple((row.coupling, row.skip_block) for row in run)
        model.set_rows(changed, rows)
    separate_graphs(changed)
    return changed


def is_plain(row: Branch) -> bool:
    """Returns whether a row is run as without Duet: the main model, coupled, with all blocks and one prompt."""
    return row == Branch(row.video, row.video)


def branch_options(model: NativeModel, branch: Branch, options: Mapping[str, Any], shapes: Sequence) -> dict[str, Any]:
    """Returns a copy of `options` under which functions that run after the guidance get the prediction of one branch.

    shapes: of both streams, for conditioning that does not name them.
    """
    rows = rows_of(branch, model)
    if len(rows) == 1:
        return call_options(model, rows, options, is_first=is_plain(rows[0]))

    def mix(run: Callable, network: Any, conds: list, x: Tensor, sigma: Tensor, given: Mapping[str, Any]) -> list[Tensor]:
        parts = [run(network, _conds(conds, row), x, sigma, call_options(model, [row], given, is_first=False)) for row in rows]
        sizes = _shapes(conds) or shapes
        streams = ([AVLatent(*comfy.utils.unpack_latents(part, sizes)) for part in texts] for texts in zip(*parts))
        mixed = [combine_couplings(each, branch.coupling) for each in streams]
        return [comfy.utils.pack_latents([each.video, each.audio])[0] for each in mixed]

    changed = call_options(model, [Branch()], options, is_first=False)
    add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, PASS_KEY, mix, changed["transformer_options"])
    return changed


def rename(conds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns `conds` with other UUIDs, because caches of model outputs use them as keys."""
    return [{**each, "uuid": uuid4()} for each in conds]


def _conds(conds: Sequence, row: Branch) -> list:
    return list(conds) if row.coupling == FULL else [None if each is None else rename(each) for each in conds]


def _shapes(conds: Sequence) -> Sequence | None:
    """Returns the shapes that the conditioning names: those of a context window, where ComfyUI samples in windows."""
    named = (cond.get("model_conds", {}).get("latent_shapes") for each in conds for cond in each or ())
    return next((shapes.cond for shapes in named if shapes is not None), None)
