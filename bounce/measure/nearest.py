"""Measures the distance of generated clips to the nearest training clip, which is small if a model memorises clips."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from ..detect.balls import find_spots, track_balls
from ..world.world import FRAMES, Worlds, simulate

PIXELS = 64


def nearest_training_clip(
    generated: Iterable[np.ndarray | Tensor], true: Worlds, training_clips: int, training_seed: int
) -> dict[str, float | list[float]]:
    """Computes the distance of the path of a ball to the nearest training path, in pixels of a 64-pixel frame.

    generated: frames [F, H, W, 3] in 0..1 of one-ball clips. true: one-ball worlds outside the training set, for comparison.
    training_clips, training_seed: the training set; its one-ball clips are used.
    The distance of two paths is the RMS over frames between the ball centres. Returns 5th percentile, median, 95th percentile.
    """
    training = simulate(training_clips, "train", training_seed)
    paths = training.position[training.count == 1, 0, :FRAMES]
    made = [path for frames in generated if (path := _path(frames)) is not None]
    return {
        "generated_px": _spread(_nearest(np.array(made), paths)),
        "true_px": _spread(_nearest(true.position[:, 0, :FRAMES], paths)),
        "training_paths": len(paths),
    }


def _path(frames: np.ndarray | Tensor) -> np.ndarray | None:
    """Returns the path [F, 2] of the most visible ball; None if it is missing from a frame."""
    tracks = track_balls(find_spots(frames), len(frames))
    return tracks[0].centre if tracks and tracks[0].seen.all() else None


def _nearest(paths: np.ndarray, training: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1) for x in (paths, training))
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return PIXELS * np.sqrt(np.maximum(squared.min(1), 0) / FRAMES)


def _spread(distances: np.ndarray) -> list[float]:
    """Returns the 5th percentile, the median and the 95th percentile."""
    return [round(float(v), 2) for v in np.percentile(distances, [5, 50, 95])]
