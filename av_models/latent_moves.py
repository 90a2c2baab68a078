"""Arithmetic of an aligner's moves on rows [B, …]: the direction of a move, and the properties that it preserves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

UPDATES = ("gradient", "sign", "adam")
BETAS, EPSILON = (0.9, 0.99), 1e-3


def rms(x: Tensor) -> Tensor:
    """Compute the root mean square of each row of [B, …], with shape [B, 1, …]."""
    level = x.flatten(1).square().mean(1).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    return level.view(-1, *[1] * (x.ndim - 1))


def keep_rms(x: Tensor, old: Tensor) -> Tensor:
    """Scale each row of `x` to the rms of `old`."""
    return x * (rms(old) / rms(x))


def keep_spectrum(x: Tensor, old: Tensor) -> Tensor:
    """Give each row of `x` the Fourier magnitudes of `old`, so that a move changes phases only.

    A latent is mostly noise. Moves make this noise differ from the noise that the network was trained to remove; with the
    spectrum preserved it differs less (arXiv 2405.18881 instead penalizes improbable noise).
    """
    over = tuple(range(1, x.ndim))
    now, before = (torch.fft.fftn(part.float(), dim=over) for part in (x, old))
    return torch.fft.ifftn(torch.polar(before.abs(), now.angle()), dim=over).real.to(x.dtype)


KEEP: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"rms": keep_rms, "spectrum": keep_spectrum}
KEEPS = ("nothing", *KEEP)


class Adam:
    """Adam (arXiv 1412.6980) with moments kept over all moves.

    The common part of successive gradients adds up, and the rest averages out. Gradients and moves are
    normalized to an rms of 1 for each row.
    """

    def __init__(self) -> None:
        self.moves = 0
        self.first: Tensor | float = 0.0
        self.second: Tensor | float = 0.0

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the move for a gradient [B, …] after all earlier ones, with an rms of 1 for each row."""
        gradient, (beta1, beta2) = gradient / rms(gradient), BETAS
        self.moves += 1
        self.first = beta1 * self.first + (1 - beta1) * gradient
        self.second = beta2 * self.second + (1 - beta2) * gradient.square()
        first, second = self.first / (1 - beta1**self.moves), self.second / (1 - beta2**self.moves)
        move = first / (second.sqrt() + EPSILON)
        return move / rms(move)
