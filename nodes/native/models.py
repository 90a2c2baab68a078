"""Which of ComfyUI's own models make a picture and its sound together, and how each is told to keep them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_base
import comfy.model_patcher
from comfy.ldm.minimax.model import PackedLayout, time_shift_sigma
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper

from ...av_models.contract import CouplingKind
from .apart import attended_apart, with_two_texts
from .passes import Pass


class LTXAV:
    """LTX-2: its cross-modal layers are gated residuals of their own, so that cut and removed are the same."""

    kinds = frozenset(CouplingKind)

    def __init__(self, model: Any) -> None:
        self.skippable = len(model.diffusion_model.transformer_blocks)

    def audio_time(self, sigma: float, transformer_options: Mapping[str, Any]) -> float:
        return sigma

    def audio_scale(self) -> float:
        return 1.0

    def keep_apart(self, transformer_options: dict[str, Any]) -> None:
        transformer_options |= {"a2v_cross_attn": False, "v2a_cross_attn": False}


class MiniMaxH3:
    """MiniMax-H3: every block is joint, so that there is nothing to remove.

    Its sound has a schedule of its own, σ_a at the picture's σ. ComfyUI carries it on the picture's: y = x σ / σ_a, whose clean
    estimate is `audio_scale` times that of x.
    """

    kinds = frozenset({CouplingKind.FULL, CouplingKind.CUT})

    def __init__(self, model: Any) -> None:
        self.model, self.network = model, model.diffusion_model
        self.skippable = len(self.network.blocks)

    def audio_time(self, sigma: float, transformer_options: Mapping[str, Any]) -> float:
        shifts = (
            transformer_options.get(f"minimax_h3_sigma_shift_{stream}", getattr(self.network, f"sigma_shift_{stream}"))
            for stream in ("video", "audio")
        )
        return time_shift_sigma(sigma, *map(float, shifts))

    def audio_scale(self) -> float:
        return self.model.audio_scale()

    def keep_apart(self, transformer_options: dict[str, Any]) -> None:
        add_wrapper(WrappersMP.DIFFUSION_MODEL, self.run_apart, transformer_options)

    def run_apart(self, run, x, timestep, context, transformer_options, minimax_payload=None, **kwargs):
        """In place of the network's own call: two texts, and attention within each modality."""
        payload = dict(minimax_payload or {})
        height, width = ((size + 1) // 2 * 2 for size in x[0].shape[-2:])
        size = (context.shape[1], x[0].shape[2], height, width, x[1].shape[-1])
        layout = payload.get("layout")
        if layout is None or layout.signature != size:
            layout = PackedLayout(*size, keyframes=payload.get("keyframes"), refs=payload.get("refs"))
        payload["layout"], second = with_two_texts(layout)
        before = transformer_options.get("optimized_attention_override")
        override = attended_apart(payload["layout"].seq_len, second, before)
        options = {**transformer_options, "optimized_attention_override": override}
        return run(x, timestep, context, options, minimax_payload=payload, **kwargs)


NATIVE = {comfy.model_base.LTXAV: LTXAV, comfy.model_base.MiniMaxH3: MiniMaxH3}


def native(patcher: Any, name: str = "model") -> LTXAV | MiniMaxH3:
    """What a MODEL can do. Raises ValueError for one that makes no picture and sound together."""
    for known, wrapper in NATIVE.items():
        if isinstance(patcher.model, known):
            return wrapper(patcher.model)
    made = type(patcher.model).__name__
    raise ValueError(f"{name} is a {made}, which is not a joint audio-video model; connect LTX-2 or MiniMax-H3")


def worse(bad: ModelPatcher, model: ModelPatcher) -> ModelPatcher:
    """`bad` with weights of its own: two MODELs of one loader, one of them with a LoRA, share theirs, and either has the
    patches of the one that was loaded last. Raises ValueError where they are the same model, or cannot be had twice."""
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


def options_of(model: LTXAV | MiniMaxH3, one: Pass, options: Mapping[str, Any], begins: bool) -> dict[str, Any]:
    """ComfyUI's model options, changed for `one` pass; those given stay as they are. `begins`: it is the first of a step."""
    changed = comfy.model_patcher.create_model_options_clone(options)
    transformer = changed.setdefault("transformer_options", {})
    if one.model == "bad":
        changed.pop("multigpu_clones", None)
    if not begins:  # core's EasyCache decides anew at every one of these calls whether a step is left out
        transformer.get("wrappers", {}).get(WrappersMP.CALC_COND_BATCH, {}).pop("easycache", None)
    if one.kind is not CouplingKind.FULL:
        model.keep_apart(transformer)
    if one.skip_block is not None:
        comfy.model_patcher.set_model_options_patch_replace(changed, _skipped, "dit", "double_block", one.skip_block)
    return changed


def _skipped(args: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return {"img": args["img"]}
