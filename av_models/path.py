"""Noise schedules: α and σ of x_t = α x_0 + σ ε at a time t from 0 (clean) to 1 (noise).

All schedules use the same time t: the quantile of the noise level in each of them (JointDiT, CVPR 2025, eqs. 4–5).
The inputs of a network are x_t and the timestep of its own schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

MIN_QUANTILE = 1e-7  # a normal distribution has no quantile at 0 and 1


class Path(Protocol):
    """A noise schedule, as a path from noise to data."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return α and σ of the network's input at each t in 0..1, shaped as t."""
        ...

    def network_time(self, t: Tensor) -> Tensor:
        """Return the network's timestep at each t in 0..1, shaped as t."""
        ...


@dataclass(frozen=True)
class Flow:
    """Rectified flow (arXiv 2209.03003): α = 1 − t, σ = t, and the timestep is t.

    direct: compute the velocity of a clean estimate as (x_t − x_0)/σ, as LTX-2's pipeline does, instead of ε − x_0. Both differ by
        rounding errors only.
    """

    direct: bool = field(default=False, compare=False)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def network_time(self, t: Tensor) -> Tensor:
        return t


@dataclass(frozen=True)
class EDM:
    """EDM (arXiv 2206.00364) with log-normal noise: log σ_EDM = mean + std Φ⁻¹(t) (JointDiT, eq. 5).

    The inputs of the network are (x_0 + σ_EDM ε) / √(1 + σ_EDM²) and the timestep ¼ log σ_EDM.
    mean, std: of log σ_EDM in training. lowest, highest: σ_EDM is clamped to these values.
    The defaults are those of Stable Video Diffusion.
    """

    mean: float = 0.7
    std: float = 1.6
    lowest: float = 0.002
    highest: float = 700.0

    def sigma_at(self, t: Tensor) -> Tensor:
        """Return σ_EDM at each t, clamped to `lowest` … `highest`."""
        quantile = torch.special.ndtri(t.double().clamp(MIN_QUANTILE, 1 - MIN_QUANTILE))
        return torch.exp(self.mean + self.std * quantile).clamp(self.lowest, self.highest)

    def time_at(self, level: Tensor) -> Tensor:
        """Return the time t of a noise level σ_EDM, the inverse of `level`."""
        return torch.special.ndtr((level.double().log() - self.mean) / self.std)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        level = self.sigma_at(t)
        alpha = (1 + level**2).rsqrt()
        return alpha.to(t.dtype), (level * alpha).to(t.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        return (0.25 * self.sigma_at(t).log()).to(t.dtype)


@dataclass(frozen=True)
class DDPM:
    """DDPM (arXiv 2006.11239) with N training steps: t is step ⌈N t⌉ (JointDiT, eq. 4), counted from 0 as in diffusers.

    beta_schedule: "linear", or "scaled_linear" for betas whose square roots are linear.
    The defaults are those of AudioLDM and AudioLDM2.
    """

    first_beta: float = 0.0015
    last_beta: float = 0.0195
    steps: int = 1000
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ of each step [N] in float32, equal to `alphas_cumprod` of diffusers' schedulers."""
        power = 2 if self.beta_schedule == "scaled_linear" else 1
        first, last = (beta ** (1 / power) for beta in (self.first_beta, self.last_beta))
        return torch.cumprod(1 - torch.linspace(first, last, self.steps, dtype=torch.float32) ** power, dim=0)

    def index(self, t: Tensor) -> Tensor:
        """Return the training step of each t, from 0 to N − 1."""
        return (self.steps * t).ceil().long().clamp(1, self.steps) - 1

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.alphas_cumprod.to(t.device)[self.index(t)]
        return kept.sqrt().to(t.dtype), (1 - kept).sqrt().to(t.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        return self.index(t).to(t.dtype)


@dataclass(frozen=True)
class Trigonometric:
    """The path of Stable Audio Open (arXiv 2407.14358): α = cos(t π/2), σ = sin(t π/2), and the timestep is t.

    The input of the network is (x_0 + σ_EDM ε) / √(1 + σ_EDM²) with σ_EDM = tan(t π/2), as in EDM.
    lowest, highest: σ_EDM is clamped to these values, and t with it.
    """

    lowest: float = 1e-5
    highest: float = 500.0

    def sigma_at(self, t: Tensor) -> Tensor:
        """Return σ_EDM at each t, clamped to `lowest` … `highest`."""
        return torch.tan(t.double().clamp(0, 1 - MIN_QUANTILE) * (math.pi / 2)).clamp(self.lowest, self.highest)

    def time_at(self, level: Tensor) -> Tensor:
        """Return the time t of a noise level σ_EDM, the inverse of `sigma_at`, as diffusers' scheduler computes it."""
        return level.atan() / math.pi * 2

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        level = self.sigma_at(t)
        alpha = (1 + level**2).rsqrt()
        return alpha.to(t.dtype), (level * alpha).to(t.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        return self.time_at(self.sigma_at(t)).to(t.dtype)


FLOW = Flow()
