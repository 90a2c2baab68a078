"""Blocks of LTX-2 that run rows of different coupling and skipped blocks in one call, or one modality alone.

They are diffusers' own blocks with another class: parameters, names and hooks stay as they are. Their attentions call their
processor without looking at its signature each time, as diffusers' do, which took a tenth of the time of small models.

A row that gets nothing of the other modality has 0 added where the others have the output of the cross-modal layer, and the layer
does not run for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers.models.transformers.transformer_ltx2 import (
    LTX2Attention,
    LTX2PerturbedAttnProcessor,
    LTX2VideoTransformer3DModel,
    LTX2VideoTransformerBlock,
)
from torch import Tensor

from ..contract import StreamName


class CrossRows(NamedTuple):
    """The rows of a call for which a cross-modal layer runs.

    rows: a slice where they stand together, which copies nothing, or their numbers, int64 [n]; None: all rows.
    factor: [n, 1, 1], by which the layer's output is multiplied; None: 1.
    """

    rows: slice | Tensor | None = None
    factor: Tensor | None = None

    @classmethod
    def of(cls, strength: Tensor) -> CrossRows:
        """Return the rows with a strength other than 0. strength: [B]."""
        values = strength.tolist()
        rows = [row for row, value in enumerate(values) if value]
        index: slice | Tensor | None = None
        if rows != list(range(len(values))):
            first, after = (rows[0], rows[-1] + 1) if rows else (0, 0)
            together = after - first == len(rows)
            index = slice(first, after) if together else torch.tensor(rows, dtype=torch.int64, device=strength.device)
        plain = all(values[row] == 1 for row in rows)
        return cls(index, None if plain else (strength if index is None else strength[index]).view(-1, 1, 1))


class Call:
    """How the blocks run in a network call. All blocks share one object.

    a_to_v, v_to_a: the rows of the two cross-modal layers. stream: the only modality that runs; None: both.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.a_to_v, self.v_to_a = CrossRows(), CrossRows()
        self.stream: StreamName | None = None


class CrossAttention(LTX2Attention):
    """The attention of one modality to the other, for the rows of the call that have it. The output of other rows is 0."""

    call: Call
    direction: str  # "a_to_v" or "v_to_a"

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **others: Any) -> Tensor:
        rows, factor = getattr(self.call, self.direction)
        if rows is None:
            return _times(self.processor(self, hidden_states, encoder_hidden_states, **others), factor)
        out, own = torch.zeros_like(hidden_states), hidden_states[rows]
        if len(own):
            theirs = {name: _take(value, rows, len(hidden_states)) for name, value in others.items()}
            out[rows] = _times(self.processor(self, own, encoder_hidden_states[rows], **theirs), factor)
        return out


class SelfAttention(LTX2Attention):
    """A self-attention that rows can skip: their values pass through unchanged, as in LTX-2's spatio-temporal guidance.

    kept: 1 for rows that have the attention, 0 for rows that skip it, [B, 1, 1]; None: every row has it.
    none_kept: whether all rows skip it.
    """

    kept: Tensor | None
    none_kept: bool

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.processor(
            self, hidden_states, *args, **kwargs | {"perturbation_mask": self.kept, "all_perturbed": self.none_kept}
        )


class RowsBlock(LTX2VideoTransformerBlock):
    """A block that can run one modality alone."""

    call: Call

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.call.stream is None:
            return super().forward(*args, **kwargs)
        video, audio = kwargs["hidden_states"], kwargs["audio_hidden_states"]
        if self.call.stream == "video":
            return self._run_video(video, kwargs), audio
        return video, self._run_audio(audio, kwargs)

    def _run_video(self, x: Tensor, given: dict[str, Any]) -> Tensor:
        text = self._text("prompt_scale_shift_table", given["encoder_hidden_states"], given["temb_prompt"])
        return self._run("", x, given["temb"], given["video_rotary_emb"], text, given["encoder_attention_mask"])

    def _run_audio(self, x: Tensor, given: dict[str, Any]) -> Tensor:
        text = self._text("audio_prompt_scale_shift_table", given["audio_encoder_hidden_states"], given["temb_prompt_audio"])
        return self._run("audio_", x, given["temb_audio"], given["audio_rotary_emb"], text, given["audio_encoder_attention_mask"])

    def _text(self, table: str, text: Tensor, temb: Tensor | None) -> Tensor:
        """Return the prompt as keys and values see it. Without `temb` its modulation does not depend on the time (LTX-2.5)."""
        if not self.cross_attn_adaln:
            return text
        if temb is None:
            shift, scale = getattr(self, table)[None, None].to(text.device, text.dtype).unbind(dim=2)
        else:
            shift, scale = self.get_mod_params(getattr(self, table), temb, len(text))
        return text * (1 + scale) + shift

    def _run(self, prefix: str, x: Tensor, temb: Tensor, rotary: Any, text: Tensor, text_mask: Tensor | None) -> Tensor:
        """Run the layers of one modality whose names begin with `prefix`."""
        part = {name: getattr(self, prefix + name) for name in ("norm1", "attn1", "norm2", "attn2", "norm3", "ff")}
        shift, scale, gate, shift_ff, scale_ff, gate_ff, *query = self.get_mod_params(
            getattr(self, f"{prefix}scale_shift_table"), temb, len(x)
        )
        x = x + part["attn1"](part["norm1"](x) * (1 + scale) + shift, query_rotary_emb=rotary) * gate
        asked = part["norm2"](x)
        if query:
            asked = asked * (1 + query[1]) + query[0]
        heard = part["attn2"](asked, encoder_hidden_states=text, attention_mask=text_mask)
        x = x + (heard * query[2] if query else heard)
        return x + part["ff"](part["norm3"](x) * (1 + scale_ff) + shift_ff) * gate_ff


def make_rows_blocks(transformer: LTX2VideoTransformer3DModel) -> Call:
    """Make the blocks of `transformer` run as the returned object says. Without a change to it they run as before."""
    call = Call()
    for block in transformer.transformer_blocks:
        block.__class__, block.call = RowsBlock, call
        for name, direction in (("audio_to_video_attn", "a_to_v"), ("video_to_audio_attn", "v_to_a")):
            cross = getattr(block, name)
            cross.__class__, cross.call, cross.direction = CrossAttention, call, direction
        for attention in (block.attn1, block.audio_attn1):
            attention.__class__, attention.kept, attention.none_kept = SelfAttention, None, False
            attention.set_processor(LTX2PerturbedAttnProcessor())
    transformer._repeated_blocks = [RowsBlock.__name__]  # for diffusers' `compile_repeated_blocks`
    return call


def _times(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor.to(x.dtype)


def _take(value: Any, rows: slice | Tensor, count: int) -> Any:
    """Return these rows of an argument of an attention: of tensors with `count` rows, and of tuples of them."""
    if isinstance(value, tuple):
        return tuple(_take(each, rows, count) for each in value)
    return value[rows] if isinstance(value, Tensor) and len(value) == count else value
