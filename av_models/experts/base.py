"""The expert protocol: a pretrained diffusers transformer, split around each block's self-attention.

Running every part in order equals the transformer's own forward, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import Path


@dataclass(frozen=True)
class ExpertState:
    """One modality between two blocks of its expert.

    hidden: [B, L, width], the tokens. text: [B, text length, width], the encoded prompt. time: the time embedding that
    modulates blocks. rotary: the rotary position embedding. shape: the latent's, for `head` to restore.
    """

    hidden: Tensor
    text: Tensor
    time: Tensor
    rotary: Any
    shape: tuple[int, ...]

    def with_(self, **changes: Any) -> ExpertState:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class QKV:
    """Queries, keys and values of one attention, each [B, rows, heads, head size], normalized and rotated."""

    q: Tensor
    k: Tensor
    v: Tensor

    def __getitem__(self, rows: slice) -> QKV:
        """The batch rows `rows`."""
        return QKV(self.q[rows], self.k[rows], self.v[rows])


class Expert(Protocol):
    """What AVFullDiT needs of an expert.

    width = heads · head_size; depth: the number of blocks; path: the noise schedule; prediction: what `head` returns.
    Inside self-attention, rows of text may come before the modality's own tokens (`text_rows` of them), as in Flux.
    """

    width: int
    heads: int
    head_size: int
    depth: int

    @property
    def path(self) -> Path: ...

    @property
    def prediction(self) -> Prediction: ...

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks in order."""
        ...

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        """The state before the first block, of a noisy latent [B, C, T, …] at times t [B] in 0..1."""
        ...

    def run(self, block: Any, state: ExpertState) -> ExpertState:
        """One whole block with its own self-attention."""
        ...

    def text_rows(self, state: ExpertState) -> int:
        """How many rows of text come first inside self-attention; 0 if text has its own cross-attention."""
        ...

    def attention_input(self, block: Any, state: ExpertState) -> tuple[Tensor, Any]:
        """The modulated norm that self-attention reads, [B, text rows + L, width], and what `finish` needs later."""
        ...

    def project(self, block: Any, rows: Tensor, state: ExpertState) -> QKV:
        """Queries, keys and values of all rows that `attention_input` returned."""
        ...

    def rotate(self, x: Tensor, state: ExpertState) -> Tensor:
        """Rotary embedding of the modality's own tokens. x: [B, L, any number of heads, head size]."""
        ...

    def finish(self, block: Any, state: ExpertState, kept: Any, attended: Tensor, extra: Tensor | None = None) -> ExpertState:
        """The rest of the block.

        kept: from `attention_input`. attended: [B, text rows + L, heads, head size]. extra: [B, L, width], added to the
        output projection of the modality's own tokens.
        """
        ...

    def head(self, state: ExpertState) -> Tensor:
        """The prediction, shaped as the latent."""
        ...
