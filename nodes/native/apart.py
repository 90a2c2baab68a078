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


def with_two_texts(layout: Any) -> tuple[Any, int]:
    """`layout` (H3's PackedLayout) as [text | of the picture | text | of the sound], and where its second text begins.

    Positions stay those that tokens had, so that only the order in memory is another; of either modality it is the same.
    """
    text, *rest = layout.segments
    if text[0] != 0 or text[2] != "text":
        raise ValueError(
            f"the MiniMax-H3 sequence starts with {text[2]}, not with text; use a guidance without separate streams, such as cfg"
        )
    if unknown := {kind for *_, kind in rest} - {*OF_PICTURE, *OF_SOUND}:
        raise ValueError(
            f"unknown MiniMax-H3 input {', '.join(sorted(unknown))}; use a guidance without separate streams, such as cfg"
        )
    picture, sound = ([text, *(each for each in rest if each[2] in own)] for own in (OF_PICTURE, OF_SOUND))
    apart, apart.segments = copy(layout), []
    for start, stop, kind in picture + sound:
        row = apart.segments[-1][1] if apart.segments else 0
        apart.segments.append((row, row + stop - start, kind))
    apart.seq_len = apart.segments[-1][1]
    apart.position_ids = torch.cat([layout.position_ids[start:stop] for start, stop, _ in picture + sound])
    apart.img_pos, apart.audio_pos = (
        torch.cat([torch.arange(start, stop) for start, stop, kind in apart.segments if kind in own])
        for own in (OF_PICTURE, OF_SOUND)
    )
    return apart, apart.segments[len(picture)][0]


def attended_apart(rows: int, second: int, before: Callable | None) -> Callable:
    """An attention override under which rows to `second` and those from there attend to themselves. `rows`: how many there
    are; attention over others is left alone. `before`: an override that was there already."""

    def attention(func: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        attend = func if before is None else lambda *inputs, **options: before(func, *inputs, **options)
        if q.shape[-2] != rows or not kwargs.get("skip_reshape"):
            return attend(q, k, v, heads, *args, **kwargs)
        groups = (slice(None, second), slice(second, None))
        return torch.cat([attend(*(x[:, :, own] for x in (q, k, v)), heads, *args, **kwargs) for own in groups], 1)

    return attention
