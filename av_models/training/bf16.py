"""Use of bfloat16 in training, by device: on accelerators, and on CPUs with AVX-512. Other CPUs emulate bfloat16, which is slow."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import _muon

from .patched import patch_function


def has_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32 on `device`, as far as torch reports it."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def muon_in_float32() -> AbstractContextManager[None]:
    """Make `torch.optim.Muon` run its Newton–Schulz iterations in float32; it uses bfloat16 on every device."""
    return patch_function(_muon, "_zeropower_via_newtonschulz", newton_schulz)


def newton_schulz(grad: Tensor, ns_coefficients: tuple[float, float, float], ns_steps: int, eps: float) -> Tensor:
    """Orthogonalise a matrix [m, n] approximately: all singular values move towards 1 (arXiv 2502.16982, section 2.1).

    The arguments are those of torch's own function, which this one replaces.
    """
    a, b, c = ns_coefficients
    x = grad / grad.norm().clamp(min=eps)
    x = x.T if len(grad) > grad.shape[1] else x
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(grad) > grad.shape[1] else x
