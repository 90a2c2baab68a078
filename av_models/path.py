"""Noise worlds: how much of x_0 and of noise is in x_t = α x_0 + σ ε at a time t in 0 (clean) … 1 (noise).

One clock drives all of them: t is the quantile of each world's own noise level (JointDiT, CVPR 2025, eqs. 4–5).
What a network sees is x_t, and what it is told is its own world's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

ALMOST = 1e-7  # a normal distribution has no quantile at 0 and 1


class Path(Protocol):
    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ of the network's input at each t."""
        ...

    def network_time(self, t: Tensor) -> Tensor:
        """What the network is told at each t."""
        ...


@dataclass(frozen=True)
class Flow:
    """Rectified flow (arXiv 2209.03003): α = 1 − t, σ = t, and the network is told t."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def network_time(self, t: Tensor) -> Tensor:
        return t


@dataclass(frozen=True)
class EDM:
    """Karras et al. (arXiv 2206.00364) with log-normal noise: log σ_EDM = mean + std Φ⁻¹(t) (JointDiT, eq. 5).

    The network sees (x_0 + σ_EDM ε) / √(1 + σ_EDM²) and is told ¼ log σ_EDM. Defaults are Stable Video Diffusion's.
    """

    mean: float = 0.7
    std: float = 1.6
    lowest: float = 0.002
    highest: float = 700.0

    def level(self, t: Tensor) -> Tensor:
        """σ_EDM at each t, within the levels that the network knows."""
        quantile = torch.special.ndtri(t.double().clamp(ALMOST, 1 - ALMOST))
        return torch.exp(self.mean + self.std * quantile).clamp(self.lowest, self.highest)

    def time_of(self, level: Tensor) -> Tensor:
        """The inverse of `level`."""
        return torch.special.ndtr((level.double().log() - self.mean) / self.std)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        level = self.level(t)
        alpha = (1 + level**2).rsqrt()
        return alpha.to(t.dtype), (level * alpha).to(t.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        return (0.25 * self.level(t).log()).to(t.dtype)


@dataclass(frozen=True)
class DDPM:
    """Ho et al. (arXiv 2006.11239), steps 1 … N: the step is ⌈N t⌉ (JointDiT, eq. 4), counted from 0 as diffusers does.

    beta_schedule: betas are linear, or "scaled_linear": linear in their square root. Defaults are AudioLDM's and AudioLDM2's.
    """

    first_beta: float = 0.0015
    last_beta: float = 0.0195
    steps: int = 1000
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"

    @cached_property
    def kept(self) -> Tensor:
        """ᾱ of each step, in float32, as diffusers' schedulers have it."""
        power = 2 if self.beta_schedule == "scaled_linear" else 1
        ends = (beta ** (1 / power) for beta in (self.first_beta, self.last_beta))
        return torch.cumprod(1 - torch.linspace(*ends, self.steps, dtype=torch.float32) ** power, dim=0)

    def index(self, t: Tensor) -> Tensor:
        return (self.steps * t).ceil().long().clamp(1, self.steps) - 1

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.kept.to(t.device)[self.index(t)]
        return kept.sqrt().to(t.dtype), (1 - kept).sqrt().to(t.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        return self.index(t).to(t.dtype)


FLOW = Flow()
