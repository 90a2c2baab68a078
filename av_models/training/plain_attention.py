"""Attention as two matrix products and a softmax, for training in bfloat16 on a CPU.

On a CPU the backward pass of torch's fused attention takes longer than the rest of a block. Plain attention computes the same
values, and a compiled block can fuse it with the operations around it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F

from .patched import patch_function


def plain_attention() -> AbstractContextManager[None]:
    """Replace `torch.nn.functional.scaled_dot_product_attention` by `attend` inside the context, for diffusers too."""
    return patch_function(F, "scaled_dot_product_attention", attend)


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
    """Compute softmax(QKᵀ · scale + mask) V for tensors [..., L, head size], in autocast's dtype if autocast is enabled.

    Raises NotImplementedError for dropout, a causal mask or grouped heads.
    """
    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError("plain attention has no dropout, causal mask or grouped heads; set bf16 = false")
    if torch.is_autocast_enabled(query.device.type):
        query, key, value = (x.to(torch.get_autocast_dtype(query.device.type)) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
        if attn_mask is not None:
            allowed = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if allowed else scores + attn_mask.to(scores.dtype)
        return scores.softmax(-1) @ value
