"""Samples the clips of a comparison that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .kept_clips import Key

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip


class Cells(Protocol):
    """What samples the clips of each cell."""

    def warm_up(self, cell: int, is_first: bool) -> None:
        """Begins a clip if the time of the next one would include what happens only once, such as compilation."""

    def sample(self, cell: int, seeds: int, run: int, runs: int) -> Clip:
        """Samples the clip of a cell with seeds number `seeds`. It is number `run` of the `runs` clips that are sampled."""


class WarmedUpError(Exception):
    """Stops a clip that was begun as a warm-up."""


def sample_missing(cells: Cells, kept: dict[Key, Clip], keys: Sequence[Sequence[Key]]) -> None:
    """Samples each clip of `keys` that is not kept yet, and adds it as soon as it is done. keys: of the clips of each cell."""
    missing: dict[Key, tuple[int, int]] = {}  # cells with equal keys share their clips
    for cell, own in enumerate(keys):
        for seeds, key in enumerate(own):
            if key not in kept:
                missing.setdefault(key, (cell, seeds))
    for run, (key, (cell, seeds)) in enumerate(missing.items()):
        cells.warm_up(cell, run == 0)
        clip = cells.sample(cell, seeds, run, len(missing))
        kept[key] = clip if seeds == 0 else clip.measurements()
