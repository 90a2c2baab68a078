"""The interface of AVFullDiT's experts: a pretrained diffusers transformer, split before and after each block's self-attention.

Running all parts in order gives the same result as the transformer's own forward, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import Path


@dataclass(frozen=True)
class ExpertState:
    """The intermediate state of one modality between two blocks of its expert.

    hidden: [B, L, width], the tokens.
    text: [B, text length, width], the encoded prompt.
    time: the time embedding, which modulates the blocks.
    rotary: the rotary position embedding.
    shape: shape of the latent; `head` returns a prediction of this shape.
    """

    hidden: Tensor
    text: Tensor
    time: Tensor
    rotary: Any
    shape: tuple[int, ...]

    def with_(self, **changes: Any) -> ExpertState:
        """Return a copy with the fields in `changes` replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class QKV:
    """Queries, keys and values of one attention, each [B, rows, heads, head size], normalized and rotated."""

    q: Tensor
    k: Tensor
    v: Tensor

    def __getitem__(self, rows: slice) -> QKV:
        """Select the batch rows `rows`."""
        return QKV(self.q[rows], self.k[rows], self.v[rows])


class Expert(Protocol):
    """An expert that can be joined as an AVFullDiT.

    width: size of the hidden state, heads · head_size. depth: number of blocks.
    path: the noise schedule. prediction: the prediction type.
    In self-attention, `text_rows` rows of text may come before the modality's own tokens, as in Flux.
    For AVSyncRoPE, a video expert has `rotary_axes`, the sizes of its rotary axes (t, y, x), and an audio expert
    `at_positions(state, positions, axes)`, which puts its tokens at `positions` [L, 3] on rotary axes of these sizes.
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
        """Prepare the state of the first block from a noisy latent [B, C, T, …] at times t [B] in 0..1."""
        ...

    def run(self, block: Any, state: ExpertState) -> ExpertState:
        """Run a whole block with its own self-attention."""
        ...

    def text_rows(self, state: ExpertState) -> int:
        """Return the number of text rows in self-attention; 0 for an expert with cross-attention to the text."""
        ...

    def attention_input(self, block: Any, state: ExpertState) -> tuple[Tensor, Any]:
        """Return the input of self-attention [B, text rows + L, width], and the value to pass to `finish` as `kept`."""
        ...

    def project(self, block: Any, rows: Tensor, state: ExpertState) -> QKV:
        """Compute the queries, keys and values of the rows from `attention_input`."""
        ...

    def rotate(self, x: Tensor, state: ExpertState) -> Tensor:
        """Apply the rotary embedding to the modality's own tokens. x: [B, L, any number of heads, head size]."""
        ...

    def finish(self, block: Any, state: ExpertState, kept: Any, attended: Tensor, extra: Tensor | None = None) -> ExpertState:
        """Run the rest of the block after self-attention.

        kept: from `attention_input`.
        attended: [B, text rows + L, heads, head size], the attention output.
        extra: [B, L, width], added to the output projection of the modality's own tokens; or None.
        """
        ...

    def head(self, state: ExpertState) -> Tensor:
        """Compute the prediction from the state after the last block, shaped as the latent."""
        ...
