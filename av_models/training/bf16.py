"""Where bfloat16 is worth it: on an accelerator, and on a CPU with instructions for it. On other CPUs it is emulated, slowly."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import _muon

from .patched import swapped


def has_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 faster than in float32, as far as torch tells."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def orthogonalised_in_float32() -> AbstractContextManager[None]:
    """`torch.optim.Muon` takes its Newton–Schulz steps in bfloat16 whatever the device; in float32 while this lasts."""
    return swapped(_muon, "_zeropower_via_newtonschulz", newton_schulz)


def newton_schulz(grad: Tensor, ns_coefficients: tuple[float, float, float], ns_steps: int, eps: float) -> Tensor:
    """The matrix [m, n] with its singular values drawn towards 1, as torch's own: arXiv 2502.16982, section 2.1."""
    a, b, c = ns_coefficients
    x = grad / grad.norm().clamp(min=eps)
    x = x.T if len(grad) > grad.shape[1] else x
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(grad) > grad.shape[1] else x
