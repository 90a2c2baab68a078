"""Sorts the rows of a batch by their coupling, so that a joint attention can split the batch into contiguous parts."""

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
    *row_args: Sequence[Any],
) -> AVLatent:
    """Call `network(latent, t, cond, counts, *row_args)` with sorted rows, and return its prediction in the original order.

    kinds: the coupling of each row. Rows are sorted as full, cut, removed; `counts` is the number of rows of each.
    row_args: further arguments, sequences with one entry per row.
    """
    order = sorted(range(len(kinds)), key=lambda row: ORDER.index(kinds[row]))
    counts = tuple(kinds.count(kind) for kind in ORDER)
    if order == list(range(len(kinds))):
        return network(latent, t, cond, counts, *row_args)
    index = torch.tensor(order, device=latent.video.device)
    out = network(*take_rows(latent, t, cond, index), counts, *([arg[row] for row in order] for arg in row_args))
    original = index.argsort()
    return AVLatent(out.video[original], out.audio[original])
