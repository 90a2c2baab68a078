"""Rows of a batch sorted by their coupling, so that a joint attention splits where their kinds change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, take_rows

ORDER = (CouplingKind.FULL, CouplingKind.CUT, CouplingKind.REMOVED)


def predict_sorted_by_coupling(
    network: Callable[..., AVLatent],
    latent: AVLatent,
    t: AVTime,
    cond: AVCondition,
    kinds: Sequence[CouplingKind],
    *each: Sequence[Any],
) -> AVLatent:
    """What `network(latent, t, cond, counts, *each)` makes of the rows, in their own order.

    It is called with rows sorted by coupling, `counts` of them full, cut, removed. `each`: more that rows have one of.
    """
    order = sorted(range(len(kinds)), key=lambda row: ORDER.index(kinds[row]))
    counts = tuple(kinds.count(kind) for kind in ORDER)
    if order == list(range(len(kinds))):
        return network(latent, t, cond, counts, *each)
    index = torch.tensor(order, device=latent.video.device)
    out = network(*take_rows(latent, t, cond, index), counts, *([part[row] for row in order] for part in each))
    back = index.argsort()
    return AVLatent(out.video[back], out.audio[back])
