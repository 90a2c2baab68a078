"""Muon for many matrices: matrices of equal shape are orthogonalised together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .bf16 import has_bf16

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # these and the number of iterations are the defaults of torch.optim.Muon
ITERATIONS, EPS = 5, 1e-7


class BatchedMuon(Optimizer):
    """Muon with Nesterov momentum (arXiv 2502.16982); one batched Newton–Schulz per shape instead of one per matrix.

    The update is that of `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` up to rounding, and the state has the same names.
    All parameters must be matrices. A step can be captured in a CUDA graph if `lr` is a tensor on the device.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            of_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    of_shape.setdefault(matrix.shape, []).append(matrix)
            for matrices in of_shape.values():
                self._update(matrices, group)

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape [m, n]."""
        grads = [matrix.grad for matrix in matrices if matrix.grad is not None]
        momenta = [self._momentum_of(matrix) for matrix in matrices]
        lr, momentum = group["lr"], group["momentum"]
        torch._foreach_lerp_(momenta, grads, 1 - momentum)
        directions = orthogonalize(torch._foreach_lerp(grads, momenta, momentum))
        adamw_scale = 0.2 * math.sqrt(max(matrices[0].shape))  # gives the update the root mean square of AdamW's
        torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
        torch._foreach_sub_(matrices, (directions * (lr * adamw_scale)).unbind())

    def _momentum_of(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return state["momentum_buffer"]


def orthogonalize(matrices: Sequence[Tensor]) -> Tensor:
    """Orthogonalise N matrices [m, n] approximately by Newton–Schulz iterations; returns [N, m, n] in float32.

    Iterates in bfloat16 where the device is faster with it (as torch does), else in float32.
    """
    x = torch.stack(list(matrices))
    x = x.bfloat16() if has_bf16(x.device) else x
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
