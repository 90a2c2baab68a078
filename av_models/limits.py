"""The sizes and lengths of clips that a model can make, and the memory that they need at least."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from .contract import LatentShape
from .shapes import AVShape, VideoShape, VideoStride

MOST_SECONDS, MOST_PIXELS = 3600.0, 16_384  # of any clip: its length, and its height or width
BYTES = 4  # of a value of frames and latents


@dataclass(frozen=True)
class LatentLimits:
    """The latents that a video network takes.

    multiple: heights and widths are multiples of it (the patch size).
    frames, cells: the most latent frames, and the most cells in height or width; None if the network has no limit.
    """

    multiple: int = 1
    frames: int | None = None
    cells: int | None = None

    def check(self, shape: VideoShape, stride: VideoStride, name: str) -> None:
        """Raise ValueError, with the limit, if a clip of `shape` has too many frames or pixels for the network of `name`."""
        frames = int(MOST_SECONDS * shape.fps) if self.frames is None else stride.frames(self.frames)
        if shape.frames > max(1, frames):
            raise ValueError(
                f"the clip has {shape.frames} frames, which are {shape.seconds:g} s; {name} takes at most {frames}, "
                f"{float(frames / shape.fps):.4g} s at {float(shape.fps):g} frames per second"
            )
        most = MOST_PIXELS if self.cells is None else self.cells * stride.space
        for side in ("width", "height"):
            if getattr(shape, side) > most:
                raise ValueError(f"{side} is {getattr(shape, side)}; {name} takes at most {most}")


def check_memory(shape: AVShape, latents: LatentShape) -> None:
    """Raise ValueError if the computer has less memory than the frames and latents of clips of `shape` take.

    latents: the shapes of the latents of all clips. Sampling and decoding need more than this.
    """
    batch, video = latents.video[0], shape.video
    needed = BYTES * (batch * video.frames * video.height * video.width * 3 + prod(latents.video) + prod(latents.audio))
    there = _memory()
    if there is not None and needed > there:
        clips, need = ("a clip", "needs") if batch == 1 else (f"{batch} clips", "need")
        raise ValueError(
            f"{clips} of {video.frames} frames of {video.width}×{video.height} {need} {needed / 1e9:.4g} GB, and this computer has "
            f"{there / 1e9:.3g} GB of memory; make the clip shorter or smaller, or the batch smaller"
        )


def _memory() -> int | None:
    """Return the bytes of memory of this computer or container; None if the system does not say."""
    return min(_limits(), default=None)


def _limits() -> Iterable[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        pass
    try:
        yield int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # not in a container, or "max"
        pass
