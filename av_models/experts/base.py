"""The contract of an expert: a pretrained diffusers transformer taken apart around each block's self-attention.

Running every part in order equals the transformer's own forward, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from ..contract import Condition


@dataclass(frozen=True)
class ExpertState:
    """One modality on its way through the blocks. `hidden`: [B, L, width]; the rest is what its blocks need."""

    hidden: Tensor
    text: Tensor
    time: Tensor
    rotary: Any
    shape: tuple[int, ...]

    def with_(self, **changes: Any) -> ExpertState:
        return replace(self, **changes)


@dataclass(frozen=True)
class QKV:
    """Queries, keys and values of one block, each [B, L, heads, head size], normed and rotated."""

    q: Tensor
    k: Tensor
    v: Tensor

    def __getitem__(self, rows: slice) -> QKV:
        return QKV(self.q[rows], self.k[rows], self.v[rows])


class Expert(Protocol):
    """Wan's `finish` and `attention_input` differ from Flux's only in what a block's text needs."""

    width: int
    heads: int
    head_size: int
    depth: int
    blocks: list[nn.Module]

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState: ...

    def run(self, block: nn.Module, stream: ExpertState) -> ExpertState:
        """The whole block, alone."""
        ...

    def project(self, block: nn.Module, x: Tensor, stream: ExpertState) -> QKV:
        """Queries, keys and values of the block's self-attention."""
        ...

    def head(self, stream: ExpertState) -> Tensor:
        """The flow velocity, shaped as the latent was."""
        ...
