"""Couplings of the rows of a joint training batch, so that the model learns every prediction that guidance strategies use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import CouplingKind


def coupled_rows(batch: int, cut: int, removed: int) -> list[CouplingKind]:
    """Return the coupling of each of `batch` rows: the last rows are `cut` and `removed`, the others fully coupled.

    Raises ValueError if the numbers do not fit the batch.
    """
    full = batch - cut - removed
    if full < 0 or cut < 0 or removed < 0:
        raise ValueError(f"cut_rows {cut} and removed_rows {removed} do not fit a batch of {batch}; use fewer")
    return [CouplingKind.FULL] * full + [CouplingKind.CUT] * cut + [CouplingKind.REMOVED] * removed


def null_rows(kinds: Sequence[CouplingKind], step: int) -> Tensor:
    """Return which rows get no condition at a step: bool [batch].

    These rows train the negatives of JointCFG and JointCFG*: half of the cut rows and half of the removed rows. Of an odd
    number, one row more is taken at every second step. No row is taken if no row is fully coupled.
    """
    null = torch.zeros(len(kinds), dtype=torch.bool)
    if CouplingKind.FULL in kinds:
        for uncoupled in (CouplingKind.CUT, CouplingKind.REMOVED):
            rows = [row for row, kind in enumerate(kinds) if kind is uncoupled]
            null[rows[: (len(rows) + step % 2) // 2]] = True
    return null
