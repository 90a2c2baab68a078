"""The pair of tensors that a LATENT of a joint model holds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class NestedTensor:
    """Several tensors that go together: video first, audio last."""

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors
