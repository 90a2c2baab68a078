"""The base of joint denoisers whose two towers are joined by residuals alone, such as Kandinsky 6, LTX-2 and Ovi."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..contract import (
    AVCondition,
    AVLatent,
    AVTime,
    Condition,
    Coupling,
    CouplingKind,
    Prediction,
    Skip,
    StreamName,
)
from ..path import FLOW


@dataclass(frozen=True)
class Strengths:
    """The factors of the cross-modal residuals in each row of a batch: 1 as trained, 0 cut.

    a_to_v, v_to_a: float32 [B], for the residuals that the video gets from the audio, and the audio from the video.
    """

    a_to_v: Tensor
    v_to_a: Tensor

    @classmethod
    def of(cls, coupling: Sequence[Coupling], device: torch.device) -> Strengths:
        """Return the factors of rows with these couplings. Cut and removed rows have 0."""
        pairs = [(c.a_to_v, c.v_to_a) if c.kind is CouplingKind.FULL else (0.0, 0.0) for c in coupling]
        return cls(*(torch.tensor(each, dtype=torch.float32, device=device) for each in zip(*pairs)))

    @cached_property
    def coupled(self) -> Tensor | None:
        """The numbers of the rows that have a factor other than 0, int64 [n]; None if these are all rows."""
        rows = ((self.a_to_v != 0) | (self.v_to_a != 0)).nonzero().flatten()
        return None if len(rows) == len(self.a_to_v) else rows

    @cached_property
    def any(self) -> bool:
        """Whether any row is coupled."""
        return self.coupled is None or len(self.coupled) > 0

    @cached_property
    def plain(self) -> bool:
        """Whether every factor of the coupled rows is 1, so that nothing is multiplied."""
        return all(bool((x[self._rows] == 1).all()) for x in (self.a_to_v, self.v_to_a))

    def of_coupled(self) -> Strengths:
        """Return the factors of the coupled rows alone."""
        return Strengths(self.a_to_v[self._rows], self.v_to_a[self._rows])

    @property
    def _rows(self) -> slice | Tensor:
        return slice(None) if self.coupled is None else self.coupled


class BlockUnit(nn.Module):
    """A block with the function that runs it."""

    def __init__(self, block: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.block, self.run = block, run

    def forward(self, *args: Any) -> Any:
        return self.run(self.block, *args)


class ResidualTowers(nn.Module, ABC):
    """A joint denoiser of two towers whose cross-modal layers add to the hidden states and change nothing else.

    Without these residuals each tower is on its own, so that cut and removed are the same. Directional strengths scale the
    residuals: one network row for every coupling.
    """

    paths = (FLOW, FLOW)
    prediction: Prediction = "flow"
    kinds = frozenset(CouplingKind)
    skippable: int
    refuses_guidance = ""
    takes_first_frame = False

    def run_block(self, block: nn.Module, *args: Any) -> Any:
        """Run one block of both towers."""
        return block(*args)

    def compile_blocks(self, **options: Any) -> None:
        """Compile `run_block`, which all blocks share, with these options of `torch.compile`."""
        self.run_block = torch.compile(self.run_block, **options)  # type: ignore[method-assign]

    def training_units(self, blocks: Iterable[nn.Module], checkpointing: bool) -> list[nn.Module]:
        """Return the blocks as modules that run as a whole, which FSDP can shard; the network runs them from now on.

        checkpointing: compute the states inside a block again in the backward pass, which needs less memory.
        """
        run = partial(checkpoint, self.run_block, use_reentrant=False) if checkpointing else self.run_block
        units = {block: BlockUnit(block, run) for block in blocks}
        self.run_block = lambda block, *args: units[block](*args)  # type: ignore[method-assign]
        return list(units.values())

    @abstractmethod
    def predict_rows(self, latent: AVLatent, t: AVTime, cond: AVCondition, strengths: Strengths, skip: Skip | None) -> AVLatent:
        """Predict the flow velocity ε − x_0 of every row. skip: the block that each row skips, or None."""

    @abstractmethod
    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict one modality alone, without running the tower of the other one."""

    def predict_coupled(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, coupling: Sequence[Coupling], skip: Skip | None = None
    ) -> AVLatent:
        """Predict all rows in one network call, each with its coupling in one row."""
        return self.predict_rows(latent, t, cond, Strengths.of(coupling, latent.video.device), skip)

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Predict all rows in one network call, with the coupling of each row."""
        return self.predict_coupled(latent, t, cond, [Coupling(kind) for kind in kinds], skip)
