"""One block of Ovi (arXiv 2510.01284): a Wan block of each tower. Its attention to the text attends to the other tower too."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor, nn

from ..experts.wan import rotate

Rotary = tuple[Tensor, Tensor]
"""cos and sin [1, L, 1, head size]."""


class Side(NamedTuple):
    """What all blocks of one tower use.

    text: [B, 512, width]. rotary: of the tower's tokens.
    modulation: [B, G, 6, width], for G groups of tokens that each have their own time: 1, or one for each latent frame.
    """

    text: Tensor
    modulation: Tensor
    rotary: Rotary


class Received(NamedTuple):
    """Which rows a tower gets the other one's tokens in. rows: int64 [n], None for all; factor: [n, 1, 1, 1], None for 1."""

    rows: Tensor | None
    factor: Tensor | None

    @classmethod
    def of(cls, strengths: Tensor) -> Received | None:
        """Return the rows [B] whose strength is not 0; None if there are none."""
        rows = strengths.nonzero().flatten()
        if not len(rows):
            return None
        kept = strengths[rows]
        return cls(None if len(rows) == len(strengths) else rows, None if bool((kept == 1).all()) else kept.view(-1, 1, 1, 1))


class Fusion(nn.Module):
    """Makes keys and values from the other tower's tokens. Its tensors are `*_fusion` in the published files."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = FP32LayerNorm(width, 1e-6, elementwise_affine=True)
        self.to_k, self.to_v = nn.Linear(width, width), nn.Linear(width, width)
        self.norm_k = nn.RMSNorm(width, eps=1e-6)

    def forward(self, other: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, L, heads, head size] for the other tower's hidden states [B, L, width]."""
        x = self.norm(other)
        k, v = (part.unflatten(2, (self.heads, -1)) for part in (self.norm_k(self.to_k(x)), self.to_v(x)))
        return rotate(k, rotary), v


class OviBlock(nn.Module):
    """A block of both towers. Without what they receive from each other, each is a block of Wan."""

    def __init__(self, width: int, feed_forward: int, heads: int) -> None:
        super().__init__()
        self.video, self.audio = (WanTransformerBlock(width, feed_forward, heads, cross_attn_norm=True) for _ in range(2))
        self.to_video, self.to_audio = Fusion(width, heads), Fusion(width, heads)

    def forward(
        self, video: Tensor, audio: Tensor, v: Side, a: Side, to_video: Received | None, to_audio: Received | None
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states [B, L, width] of both towers after the block."""
        video, audio = attend_to_self(self.video, video, v), attend_to_self(self.audio, audio, a)
        text_v, text_a = attend_to_text(self.video, video, v), attend_to_text(self.audio, audio, a)
        if to_video is not None:
            text_v = self._add_other(text_v, self.to_video, audio, (v, a), to_video)
        if to_audio is not None:
            text_a = self._add_other(text_a, self.to_audio, video, (a, v), to_audio)
        return finish(self.video, video, text_v, v), finish(self.audio, audio, text_a, a)

    @staticmethod
    def _add_other(text: Queried, fusion: Fusion, other: Tensor, sides: tuple[Side, Side], received: Received) -> Queried:
        """Add the attention to the other tower's tokens to that to the text. sides: the tower's own, the other's."""
        rows = slice(None) if received.rows is None else received.rows
        k, v = fusion(other[rows], sides[1].rotary)
        added = dispatch_attention_fn(rotate(text.queries[rows], sides[0].rotary), k, v)
        if received.factor is not None:
            added = added * received.factor.to(added.dtype)
        attended = text.attended + added if received.rows is None else text.attended.index_add(0, received.rows, added)
        return text._replace(attended=attended)


class Queried(NamedTuple):
    """The queries of a cross-attention, and what they attended to. Both [B, L, heads, head size]."""

    queries: Tensor
    attended: Tensor


def run_alone(block: WanTransformerBlock, hidden: Tensor, side: Side) -> Tensor:
    """Return the hidden states [B, L, width] of one tower after its block, which gets nothing from the other tower."""
    hidden = attend_to_self(block, hidden, side)
    return finish(block, hidden, attend_to_text(block, hidden, side), side)


def attend_to_self(block: WanTransformerBlock, hidden: Tensor, side: Side) -> Tensor:
    """Return the hidden states [B, L, width] after self-attention."""
    shift, scale, gate = _modulations(block, side)[:3]
    x = modulate(block.norm1(hidden.float()), scale, shift).type_as(hidden)
    return _gated(hidden, block.attn1(x, None, None, side.rotary), gate)


def attend_to_text(block: WanTransformerBlock, hidden: Tensor, side: Side) -> Queried:
    """Compute the cross-attention to the text, without its output projection."""
    attn, x = block.attn2, block.norm2(hidden.float()).type_as(hidden)
    parts = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(side.text)), attn.to_v(side.text)
    q, k, v = (part.unflatten(2, (attn.heads, -1)) for part in parts)
    return Queried(q, dispatch_attention_fn(q, k, v))


def finish(block: WanTransformerBlock, hidden: Tensor, text: Queried, side: Side) -> Tensor:
    """Run the output projection of the cross-attention and the feed-forward."""
    shift, scale, gate = _modulations(block, side)[3:]
    hidden = hidden + block.attn2.to_out[0](text.attended.flatten(2).type_as(hidden))
    x = modulate(block.norm3(hidden.float()), scale, shift).type_as(hidden)
    return _gated(hidden, block.ffn(x), gate)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x · (1 + scale) + shift for x [B, L, width], where the modulations [B, G, 1, width] are those of groups of tokens."""
    return (x.unflatten(1, (scale.shape[1], -1)) * (1 + scale) + shift).flatten(1, 2)


def _gated(hidden: Tensor, added: Tensor, gate: Tensor) -> Tensor:
    groups = (gate.shape[1], -1)
    gated = added.float().unflatten(1, groups) * gate
    return (hidden.float().unflatten(1, groups) + gated).flatten(1, 2).type_as(hidden)


def _modulations(block: WanTransformerBlock, side: Side) -> tuple[Tensor, ...]:
    """Return the six modulations of a block, each [B, G, 1, width]."""
    return torch.chunk(block.scale_shift_table + side.modulation.float(), 6, dim=2)
