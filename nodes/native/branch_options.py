"""ComfyUI's model options under which any caller gets the prediction of one branch, for functions that run after the guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import comfy.utils
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...av_models.contract import AVLatent, CouplingKind, combine_couplings
from ...av_models.guidance import Branch
from .compiled import PASS_KEY
from .models import LTXAV, MiniMaxH3, pass_options
from .passes import Pass, passes_of


def branch_options(model: LTXAV | MiniMaxH3, branch: Branch, options: Mapping[str, Any], shapes: Sequence) -> dict[str, Any]:
    """Returns a copy of `options`, changed so that ComfyUI's `calc_cond_batch` predicts as the branch does.

    shapes: of both streams, for conditioning that does not name them.
    """
    passes = passes_of(branch)
    if len(passes) == 1:
        return pass_options(model, passes[0], options, is_first=passes[0] == Pass())

    def mix(run: Callable, network: Any, conds: list, x: Tensor, sigma: Tensor, given: Mapping[str, Any]) -> list[Tensor]:
        parts = [run(network, _conds(conds, one), x, sigma, pass_options(model, one, given, is_first=False)) for one in passes]
        sizes = _shapes(conds) or shapes
        streams = ([AVLatent(*comfy.utils.unpack_latents(part, sizes)) for part in texts] for texts in zip(*parts))
        mixed = [combine_couplings(each, branch.coupling) for each in streams]
        return [comfy.utils.pack_latents([each.video, each.audio])[0] for each in mixed]

    changed = pass_options(model, Pass(), options, is_first=False)
    add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, PASS_KEY, mix, changed["transformer_options"])
    return changed


def rename(conds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns `conds` with other UUIDs, because caches of model outputs use them as keys."""
    return [{**each, "uuid": uuid4()} for each in conds]


def _conds(conds: Sequence, one: Pass) -> list:
    return list(conds) if one.kind is CouplingKind.FULL else [None if each is None else rename(each) for each in conds]


def _shapes(conds: Sequence) -> Sequence | None:
    """Returns the shapes that the conditioning names: those of a context window, where ComfyUI samples in windows."""
    named = (cond.get("model_conds", {}).get("latent_shapes") for each in conds for cond in each or ())
    return next((shapes.cond for shapes in named if shapes is not None), None)
