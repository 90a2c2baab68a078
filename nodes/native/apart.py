"""MiniMax-H3 with its streams kept apart.

It is one stream of tokens, [text | conditions | sound | picture], all of which attend to all. The text would carry what one
modality knows to the other, so that either gets a text of its own; attention then runs on each group by itself, with no mask,
which is what the model makes of a picture alone and of a sound alone.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

OF_PICTURE = ("cond", "ref_img", "video")
OF_SOUND = ("cond_audio", "ref_audio", "audio")


def with_two_texts(layout: Any) -> Any:
    """`layout` (H3's PackedLayout) with its text twice, at the same positions."""
    (start, text, kind), *rest = layout.segments
    if start != 0 or kind != "text":
        raise ValueError(f"this MiniMax-H3 begins with {kind}, not with its text, so its streams cannot be kept apart")
    apart = copy(layout)
    apart.segments = [(0, text, kind), (text, 2 * text, kind), *((a + text, b + text, k) for a, b, k in rest)]
    apart.seq_len = layout.seq_len + text
    apart.position_ids = torch.cat([layout.position_ids[:text], layout.position_ids])
    apart.img_pos, apart.audio_pos = layout.img_pos + text, layout.audio_pos + text
    return apart


def groups_of(apart: Any) -> list[Tensor]:
    """Rows of the picture with the first text, and of the sound with the second."""
    first, second, *rest = apart.segments
    return [
        torch.cat([torch.arange(a, b) for a, b, kind in [text, *rest] if kind == "text" or kind in own])
        for text, own in ((first, OF_PICTURE), (second, OF_SOUND))
    ]


def attended_apart(apart: Any, before: Callable | None) -> Callable:
    """An attention override under which each group attends to itself. `before`: an override that was there already."""
    groups = groups_of(apart)

    def attention(func: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        attend = func if before is None else lambda *inputs, **options: before(func, *inputs, **options)
        if q.shape[-2] != apart.seq_len or not kwargs.get("skip_reshape"):
            return attend(q, k, v, heads, *args, **kwargs)
        parts = [attend(*(x[:, :, rows.to(x.device)] for x in (q, k, v)), heads, *args, **kwargs) for rows in groups]
        out = parts[0].new_empty(q.shape[0], apart.seq_len, parts[0].shape[-1])
        for rows, part in zip(groups, parts):
            out[:, rows.to(out.device)] = part
        return out

    return attention
