"""How the rows of a joint batch are coupled, so that every branch of every guidance is a prediction the model has learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import CouplingKind


def coupled_rows(batch: int, cut: int, removed: int) -> list[CouplingKind]:
    """The couplings of `batch` rows, the last of them `cut` and `removed`."""
    full = batch - cut - removed
    if full < 0 or cut < 0 or removed < 0:
        raise ValueError(f"cut_rows {cut} and removed_rows {removed} do not fit a batch of {batch}; give fewer")
    return [CouplingKind.FULL] * full + [CouplingKind.CUT] * cut + [CouplingKind.REMOVED] * removed


def null_rows(kinds: Sequence[CouplingKind], step: int) -> Tensor:
    """Which rows get no condition at a step, as JointCFG's and JointCFG*'s negatives, bool [batch]: half of those that are cut
    and half of those that are removed, of an odd number one more at every second step; none where no row is coupled."""
    null = torch.zeros(len(kinds), dtype=torch.bool)
    if CouplingKind.FULL in kinds:
        for uncoupled in (CouplingKind.CUT, CouplingKind.REMOVED):
            rows = [row for row, kind in enumerate(kinds) if kind is uncoupled]
            null[rows[: (len(rows) + step % 2) // 2]] = True
    return null
