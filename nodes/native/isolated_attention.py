"""Isolated attention for MiniMax-H3: video and audio attend only to themselves and to the text.

MiniMax-H3 runs full attention over one sequence of tokens, [text | conditions | audio | video]. The text tokens would carry
information between video and audio, so each gets its own copy of the text. Attention then runs on each group separately,
without a mask. The result is the same as running the model on the video alone and on the audio alone.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

VIDEO_SEGMENTS = ("cond", "ref_img", "video")
AUDIO_SEGMENTS = ("cond_audio", "ref_audio", "audio")
_REMEDY = "use a guidance without separate streams, such as cfg"


def duplicate_text_rows(layout: Any) -> tuple[Any, int]:
    """Returns `layout` (MiniMax-H3's PackedLayout) as [text | video | text | audio], and the row where the second text starts.

    Only the order of the rows changes: each token keeps its position ID, and each modality keeps its order.
    Raises ValueError if the sequence does not start with text, or has a segment of an unknown modality.
    """
    text, *rest = layout.segments
    if text[0] != 0 or text[2] != "text":
        raise ValueError(f"the MiniMax-H3 sequence starts with {text[2]}, not with text; {_REMEDY}")
    if unknown := {kind for *_, kind in rest} - {*VIDEO_SEGMENTS, *AUDIO_SEGMENTS}:
        raise ValueError(f"unknown MiniMax-H3 input {', '.join(sorted(unknown))}; {_REMEDY}")
    picture, sound = ([text, *(segment for segment in rest if segment[2] in kinds)] for kinds in (VIDEO_SEGMENTS, AUDIO_SEGMENTS))
    isolated, isolated.segments = copy(layout), []
    for start, stop, kind in picture + sound:
        row = isolated.segments[-1][1] if isolated.segments else 0
        isolated.segments.append((row, row + stop - start, kind))
    isolated.seq_len = isolated.segments[-1][1]
    isolated.position_ids = torch.cat([layout.position_ids[start:stop] for start, stop, _ in picture + sound])
    isolated.img_pos, isolated.audio_pos = (
        torch.cat([torch.arange(start, stop) for start, stop, kind in isolated.segments if kind in kinds])
        for kinds in (VIDEO_SEGMENTS, AUDIO_SEGMENTS)
    )
    return isolated, isolated.segments[len(picture)][0]


def attend_separately(rows: int, second: int, previous: Callable | None) -> Callable:
    """Returns an attention override that runs rows [0, second) and rows [second, rows) separately.

    rows: length of the sequence; attention over sequences of another length is not changed.
    previous: an override that was already installed and is still called, or None.
    """

    def attention(func: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        attend = func if previous is None else lambda *inputs, **options: previous(func, *inputs, **options)
        if q.shape[-2] != rows or not kwargs.get("skip_reshape"):
            return attend(q, k, v, heads, *args, **kwargs)
        groups = (slice(None, second), slice(second, None))
        return torch.cat([attend(*(x[:, :, group] for x in (q, k, v)), heads, *args, **kwargs) for group in groups], 1)

    return attention
