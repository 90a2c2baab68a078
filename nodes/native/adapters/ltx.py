"""LTX-2.x: two streams with gated cross-attention in every block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher

from ....av_models.contract import CouplingKind
from ....av_models.guidance import Branch, resolve_block
from ..compiled import is_compiled
from ..join_text import join_processed
from ..ltx_text import LTXText
from ..pair_prompts import Entry
from ..shared_calls import count_shared_calls
from .base import ROW_FIELDS, NativeModel
from .ltx_rows import RowSettings, mix_rows, needs_gate, off_flags

USUAL_FPS = 25  # of ComfyUI's LTX-2, if the conditioning has none


class LTX2(NativeModel):
    """Its cross-modal layers are gated residuals: coupling `cut` and `removed` are the same, and each row can have its own."""

    name = "LTX-2"
    kinds = frozenset(CouplingKind)
    own_skip_block = 28  # Lightricks' presets for LTX-2.3
    runs_without_audio = one_call = True

    def __init__(self, model: Any) -> None:
        self.network = network = model.diffusion_model
        self.text = LTXText(network)
        self.skippable = len(network.transformer_blocks)
        channels = network.patchify_proj.in_features
        self.stream_sizes = (channels, None, None, None), (network.num_audio_channels, None, network.audio_frequency_bins)
        both = network.cross_attention_dim + network.audio_cross_attention_dim
        self.text_widths = {network.caption_channels, 2 * network.caption_channels, both}

    def count_calls(self, entries: Sequence[Entry]) -> int:
        """Prompts of one length after the connectors, and with the same hooks and other values, share a call."""
        return count_shared_calls(entries, self.text)

    def frame_rate(self, entries: Iterable[Entry]) -> float:
        return next((each["frame_rate"] for each in entries if each.get("frame_rate")), USUAL_FPS)

    def apart_by(self, patcher: ModelPatcher) -> tuple[Sequence[str], str]:
        if "model_function_wrapper" in patcher.model_options:
            return ROW_FIELDS, "the model has a patch that wraps every network call (model_function_wrapper)"
        return (("skip_block",), "a skipped block is compiled separately") if is_compiled(patcher.wrappers) else ((), "")

    def set_rows(self, options: dict[str, Any], rows: Sequence[Branch | None]) -> None:
        """Turns layers off that no row needs. Where the rows differ, see `ltx_rows.mix_rows`."""
        wanted = [None if row is None else self._settings(row) for row in rows]
        transformer, run = options["transformer_options"], [each for each in wanted if each is not None]
        couplings = [each.a_to_v for each in run], [each.v_to_a for each in run]
        transformer |= off_flags(*couplings)
        skipped = {each.skip_block for each in run}
        if len(skipped) == 1 and None not in skipped:  # its values pass through the self-attention, as Lightricks and ComfyUI do it
            transformer["stg_self_attn_blocks"] = frozenset(transformer.get("stg_self_attn_blocks", ())) | skipped
        if len(rows) > 2 or len(skipped) > 1 or any(map(needs_gate, couplings)):
            mix_rows(options, wanted, [None if row is None else row.video for row in rows], self.network.transformer_blocks)

    def join_prompts(self, video: Sequence[Entry], audio: Sequence[Entry]) -> list[dict[str, Any]]:
        return join_processed(video, audio, self.network)

    def _settings(self, row: Branch) -> RowSettings:
        coupling = row.coupling
        strengths = (coupling.a_to_v, coupling.v_to_a) if coupling.kind is CouplingKind.FULL else (0.0, 0.0)
        return RowSettings(*strengths, resolve_block(row.skip_block, self))
