"""How the rows of a joint batch are coupled, so that every branch of every guidance is a prediction the model has learned."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contract import CouplingKind


def coupled_rows(batch: int, cut: int, removed: int) -> tuple[list[CouplingKind], Tensor]:
    """The couplings of `batch` rows, the last of them `cut` and `removed`, and which rows get no condition, bool [batch]:
    half of those that are not coupled, as JointCFG's and JointCFG*'s negatives; none where no row is coupled."""
    full = batch - cut - removed
    if full < 0 or cut < 0 or removed < 0:
        raise ValueError(f"cut_rows {cut} and removed_rows {removed} do not fit a batch of {batch}; give fewer")
    kinds = [CouplingKind.FULL] * full + [CouplingKind.CUT] * cut + [CouplingKind.REMOVED] * removed
    null = torch.zeros(batch, dtype=torch.bool)
    if full:
        null[full : full + cut // 2] = True
        null[full + cut : full + cut + removed // 2] = True
    return kinds, null
