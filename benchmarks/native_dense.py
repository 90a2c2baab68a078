"""MiniMax-H3 with video and audio isolated by a dense mask: what Duet does without one, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.minimax.model import PackedLayout
from torch import Tensor

from ..nodes.native.isolated_attention import duplicate_text_rows


def attend_with_mask(run: Callable, x: list[Tensor], timestep: Tensor, context: Tensor, options: dict, **kwargs: Any) -> Any:
    """Wraps the network's call: duplicates the text, and masks the attention between the groups."""
    layout, second = duplicate_text_rows(PackedLayout(context.shape[1], *x[0].shape[2:], x[1].shape[-1]))
    rows = layout.seq_len
    mask = torch.block_diag(*(torch.ones(n, n, dtype=torch.bool) for n in (second, rows - second)))

    def attention(func: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **others: Any) -> Tensor:
        if q.shape[-2] != rows:
            return func(q, k, v, heads, *args, **others)
        return func(q, k, v, heads, *args, **others | {"mask": mask})

    payload = (kwargs.pop("minimax_payload", None) or {}) | {"layout": layout}
    return run(x, timestep, context, options | {"optimized_attention_override": attention}, minimax_payload=payload, **kwargs)
