"""MiniMax-H3: one sequence of tokens for the text, the video and the audio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import comfy.model_patcher
from comfy.ldm.minimax.model import PackedLayout, time_shift_sigma
from comfy.patcher_extension import WrappersMP, add_wrapper
from comfy_extras.nodes_minimax_h3 import FPS

from ....av_models.contract import CouplingKind
from ....av_models.guidance import Branch, resolve_block
from ..isolated_attention import attend_separately, duplicate_text_rows
from ..pair_prompts import Entry
from ..shared_calls import active_together
from .base import NativeModel


class MiniMaxH3(NativeModel):
    """MiniMax-H3. Every block is joint, so there are no joint layers to remove.

    Its audio has a separate noise schedule, σ_a at the video's σ. ComfyUI carries the audio on the video's schedule:
    y = x σ / σ_a. The clean estimate of y is `audio_scale` times the clean estimate of x.
    """

    name = "MiniMax-H3"
    kinds = frozenset({CouplingKind.FULL, CouplingKind.CUT})

    def __init__(self, model: Any) -> None:
        self.model, self.network = model, model.diffusion_model
        self.skippable = len(self.network.blocks)
        self.stream_sizes = (self.network.latents_dim, None, None, None), (self.network.audio_latents_dim, 2, None)
        self.text_widths = {self.network.condition_proj.in_features, self.network.hidden_size}

    def times(self, sigma: float, transformer_options: Mapping[str, Any]) -> tuple[float, float]:
        shifts = (
            transformer_options.get(f"minimax_h3_sigma_shift_{stream}", getattr(self.network, f"sigma_shift_{stream}"))
            for stream in ("video", "audio")
        )
        return sigma, time_shift_sigma(sigma, *map(float, shifts))

    def audio_scale(self) -> float:
        return self.model.audio_scale()

    def count_calls(self, entries: Sequence[Entry]) -> int:
        """ComfyUI runs MiniMax-H3 with batch 1."""
        return max((len(each) for each in active_together(entries)), default=0)

    def frame_rate(self, entries: Iterable[Entry]) -> float:
        return FPS

    def set_rows(self, options: dict[str, Any], rows: Sequence[Branch | None]) -> None:
        """Isolates the attention of `cut` rows, and skips whole blocks. All rows are alike."""
        row = next(each for each in rows if each is not None)
        if row.coupling.kind is not CouplingKind.FULL:
            add_wrapper(WrappersMP.DIFFUSION_MODEL, self.run_separately, options["transformer_options"])
        block = resolve_block(row.skip_block, self)
        if block is not None:
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


def _pass_through(args: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return {"img": args["img"]}
