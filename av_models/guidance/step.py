"""Where sampling is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Step `index` of `count`, at diffusion times in [0, 1] (1 is noise)."""

    index: int
    count: int
    t_video: float
    t_audio: float
