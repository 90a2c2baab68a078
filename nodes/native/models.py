"""The joint audio-video models that ComfyUI runs itself, and how to separate the two streams of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.model_base
import comfy.model_patcher
from comfy.ldm.minimax.model import PackedLayout, time_shift_sigma
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper

from ...av_models.contract import CouplingKind
from ...av_models.guidance import resolve_block
from .compiled import PASS_KEY, run_uncompiled, separate_graphs
from .isolated_attention import attend_separately, duplicate_text_rows
from .passes import Pass


class LTXAV:
    """LTX-2. Its cross-modal layers are separate gated residuals, so coupling `cut` and `removed` are the same."""

    kinds = frozenset(CouplingKind)
    own_skip_block = 28  # Lightricks' presets for LTX-2.3
    name, runs_without_audio = "LTX-2", True

    def __init__(self, model: Any) -> None:
        network = model.diffusion_model
        self.skippable = len(network.transformer_blocks)
        channels = network.patchify_proj.in_features
        self.stream_sizes = (channels, None, None, None), (network.num_audio_channels, None, network.audio_frequency_bins)
        both = network.cross_attention_dim + network.audio_cross_attention_dim
        self.text_widths = {network.caption_channels, 2 * network.caption_channels, both}

    def audio_time(self, sigma: float, transformer_options: Mapping[str, Any]) -> float:
        return sigma

    def audio_scale(self) -> float:
        return 1.0

    def count_calls(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Returns the number of network calls for these entries of a conditioning: texts of one length share a call."""
        return len({(getattr(each.get("cross_attn"), "shape", None), each.get("hooks")) for each in entries})

    def separate_streams(self, transformer_options: dict[str, Any]) -> None:
        """Turns the cross-modal layers off."""
        transformer_options |= {"a2v_cross_attn": False, "v2a_cross_attn": False}

    def skip_block(self, block: int, options: dict[str, Any]) -> None:
        """Skips the self-attention of a block, as Lightricks and ComfyUI do: its values pass through. options: model options."""
        transformer = options["transformer_options"]
        transformer["stg_self_attn_blocks"] = frozenset(transformer.get("stg_self_attn_blocks", ())) | {block}


class MiniMaxH3:
    """MiniMax-H3. Every block is joint, so there are no joint layers to remove.

    Its audio has a separate noise schedule, σ_a at the video's σ. ComfyUI carries the audio on the video's schedule:
    y = x σ / σ_a. The clean estimate of y is `audio_scale` times the clean estimate of x.
    """

    kinds = frozenset({CouplingKind.FULL, CouplingKind.CUT})
    name, runs_without_audio = "MiniMax-H3", False

    def __init__(self, model: Any) -> None:
        self.model, self.network = model, model.diffusion_model
        self.skippable = len(self.network.blocks)
        self.stream_sizes = (self.network.latents_dim, None, None, None), (self.network.audio_latents_dim, 2, None)
        self.text_widths = {self.network.condition_proj.in_features, self.network.hidden_size}

    def audio_time(self, sigma: float, transformer_options: Mapping[str, Any]) -> float:
        shifts = (
            transformer_options.get(f"minimax_h3_sigma_shift_{stream}", getattr(self.network, f"sigma_shift_{stream}"))
            for stream in ("video", "audio")
        )
        return time_shift_sigma(sigma, *map(float, shifts))

    def audio_scale(self) -> float:
        return self.model.audio_scale()

    def count_calls(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Returns the number of network calls for these entries of a conditioning: ComfyUI runs MiniMax-H3 with batch 1."""
        return len(entries)

    def separate_streams(self, transformer_options: dict[str, Any]) -> None:
        """Makes the network run with isolated attention. It is not compiled: the groups depend on the sizes of the run."""
        run_uncompiled(transformer_options)
        add_wrapper(WrappersMP.DIFFUSION_MODEL, self.run_separately, transformer_options)

    def skip_block(self, block: int, options: dict[str, Any]) -> None:
        """Skips the whole block. options: model options."""
        comfy.model_patcher.set_model_options_patch_replace(options, _pass_through, "dit", "double_block", block)

    def run_separately(self, run, x, timestep, context, transformer_options, minimax_payload=None, **kwargs):
        """Wraps the network's call: duplicates the text, and attends within each modality only."""
        payload = dict(minimax_payload or {})
        height, width = ((size + 1) // 2 * 2 for size in x[0].shape[-2:])
        size = (context.shape[1], x[0].shape[2], height, width, x[1].shape[-1])
        layout = payload.get("layout")
        if layout is None or layout.signature != size:
            layout = PackedLayout(*size, keyframes=payload.get("keyframes"), refs=payload.get("refs"))
        payload["layout"], second = duplicate_text_rows(layout)
        previous = transformer_options.get("optimized_attention_override")
        override = attend_separately(payload["layout"].seq_len, second, previous)
        options = {**transformer_options, "optimized_attention_override": override}
        return run(x, timestep, context, options, minimax_payload=payload, **kwargs)


NATIVE_MODELS = {comfy.model_base.LTXAV: LTXAV, comfy.model_base.MiniMaxH3: MiniMaxH3}


def native_model(patcher: Any, name: str = "model") -> LTXAV | MiniMaxH3:
    """Returns the wrapper for a MODEL. Raises ValueError if it is not a joint audio-video model. name: of the node's input."""
    for base, wrapper in NATIVE_MODELS.items():
        if isinstance(patcher.model, base):
            return wrapper(patcher.model)
    kind = type(patcher.model).__name__
    raise ValueError(f"{name} is a {kind}, which is not a joint audio-video model; connect LTX-2 or MiniMax-H3")


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


def pass_options(model: LTXAV | MiniMaxH3, one: Pass, options: Mapping[str, Any], is_first: bool) -> dict[str, Any]:
    """Returns a copy of ComfyUI's model options, changed for the pass `one`. is_first: whether it is the first pass of a step."""
    changed = comfy.model_patcher.create_model_options_clone(options)
    transformer = changed.setdefault("transformer_options", {})
    separate_graphs(changed)
    if one.model == "bad":
        changed.pop("multigpu_clones", None)
    if not is_first:  # ComfyUI's EasyCache decides at every call whether to skip the step; it must do so once a step
        transformer.get("wrappers", {}).get(WrappersMP.CALC_COND_BATCH, {}).pop("easycache", None)
    block = resolve_block(one.skip_block, model)
    if one.kind is not CouplingKind.FULL or block is not None:
        transformer[PASS_KEY] = (one.kind.value, block)
    if one.kind is not CouplingKind.FULL:
        model.separate_streams(transformer)
    if block is not None:
        model.skip_block(block, changed)
    return changed


def _pass_through(args: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return {"img": args["img"]}
