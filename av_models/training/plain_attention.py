"""Attention as two products and a softmax: what training in bfloat16 on a CPU is fast with.

There the backward pass of torch's fused attention is slower than the rest of a block together; these are the same numbers,
which a compiled block joins with their neighbours.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F

from .patched import swapped


def plain_attention() -> AbstractContextManager[None]:
    """`torch.nn.functional.scaled_dot_product_attention` is `attend` while this lasts, diffusers' calls of it as well."""
    return swapped(F, "scaled_dot_product_attention", attend)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(QKᵀ · scale + mask) V over [..., L, head size], in autocast's type where it is on."""
    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError("plain attention has no dropout, no causal mask and no grouped heads; train without bf16")
    if torch.is_autocast_enabled(query.device.type):
        query, key, value = (x.to(torch.get_autocast_dtype(query.device.type)) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
        if attn_mask is not None:
            allowed = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if allowed else scores + attn_mask.to(scores.dtype)
        return scores.softmax(-1) @ value
