"""Decodes parts of a latent clip in short windows, so that gradients need memory for one window instead of the whole clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Window:
    """Latent steps `start` to `stop` are decoded together; what belongs to `first` to `last` is kept. Ends are not included."""

    start: int
    first: int
    last: int
    stop: int

    def keep_causal(self, decoded: int) -> slice:
        """Return the frames to keep, where the first latent step has one frame and each other one has k."""
        steps = self.stop - self.start
        k = (decoded - 1) // max(steps - 1, 1)
        before = self.first - self.start
        return slice(k * (before - 1) + 1 if before else 0, k * (self.last - self.start - 1) + 1)

    def keep_even(self, decoded: int) -> slice:
        """Return the samples to keep, where each latent step has as many."""
        k = decoded // (self.stop - self.start)
        return slice(k * (self.first - self.start), k * (self.last - self.start))


@dataclass(frozen=True)
class WindowSize:
    """How a clip is divided. kept: most latent steps that a window keeps. before, after: steps decoded with them as context."""

    kept: int
    before: int
    after: int

    @property
    def most(self) -> int:
        """The most latent steps that are decoded at once."""
        return self.before + self.kept + self.after

    def divide(self, total: int, chosen: Sequence[int] | None = None) -> list[Window]:
        """Return the windows of a clip of `total` latent steps. chosen: those that are needed, in order; None: all."""
        runs: list[list[int]] = []
        for step in range(total) if chosen is None else chosen:
            if runs and step == runs[-1][-1] + 1 and len(runs[-1]) < self.kept:
                runs[-1].append(step)
            else:
                runs.append([step])
        return [Window(max(0, run[0] - self.before), run[0], run[-1] + 1, min(total, run[-1] + 1 + self.after)) for run in runs]


def decode_windows(
    latent: Tensor,
    windows: Sequence[Window],
    decode: Callable[[Tensor], Tensor],
    keep: Callable[[Window, int], slice],
    axes: tuple[int, int],
    save_memory: bool = True,
) -> Tensor:
    """Return the kept parts, one after the other.

    keep: what is kept of a decoded window. axes: of time in the latent and in what is decoded.
    save_memory: decode each window again in the backward pass instead of storing its activations.
    """
    run = partial(checkpoint, use_reentrant=False) if save_memory else lambda part, x: part(x)

    def decode_kept(window: Window, part: Tensor) -> Tensor:
        decoded = decode(part)
        kept = keep(window, decoded.shape[axes[1]])
        return decoded.narrow(axes[1], kept.start, kept.stop - kept.start)

    parts = [
        run(partial(decode_kept, window), latent.narrow(axes[0], window.start, window.stop - window.start))
        for window in windows
    ]  # fmt: skip
    return torch.cat(parts, dim=axes[1])
