"""The nested tensor in a LATENT of a joint model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class NestedTensor:
    """A list of tensors: video first, audio last."""

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors
