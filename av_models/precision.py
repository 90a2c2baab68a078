"""The precision that a network computes in, where its weights may be stored in another one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

LAYERWISE_CASTING = "layerwise_casting"  # name of diffusers' hook


def compute_dtype(network: nn.Module) -> torch.dtype:
    """Return the dtype that most weights are computed in; that of 8-bit and GGUF weights is the one they are converted to."""
    counts: Counter[torch.dtype] = Counter()
    for module in network.modules():
        chosen = _chosen(module)
        for tensor in module.parameters(recurse=False):
            dtype = tensor.dtype if chosen is None else chosen
            if dtype.is_floating_point and dtype.itemsize > 1:
                counts[dtype] += tensor.numel()
    return counts.most_common(1)[0][0] if counts else torch.float32


def _chosen(module: nn.Module) -> torch.dtype | None:
    """Return the dtype that a layer converts its weights to, None if it uses them as they are."""
    registry: Any = getattr(module, "_diffusers_hook", None)
    hook = registry and registry.get_hook(LAYERWISE_CASTING)
    if hook:
        return hook.compute_dtype
    found = getattr(module, "compute_dtype", None)  # diffusers' GGUFLinear
    return found if isinstance(found, torch.dtype) else None
