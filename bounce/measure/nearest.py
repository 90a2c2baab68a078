"""How far generated clips are from the training clips: a model that only remembers would be very near."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..detect.balls import find_spots, follow
from ..world.world import FRAMES, Worlds, simulate

PIXELS = 64


def nearest_training_clip(
    generated: Iterable, true: Worlds, training_clips: int, training_seed: int
) -> dict[str, float | list[float]]:
    """Median distance of a one-ball clip's path to the nearest training path, in pixels of a 64-pixel frame.

    `generated`: pictures [F, H, W, 3] in 0..1; `true`: unseen one-ball worlds, for comparison. The distance is the rms
    over frames between ball centres; training paths are those of the same training seed, one ball each.
    """
    training = simulate(training_clips, "train", training_seed)
    paths = training.position[training.count == 1, 0, :FRAMES]
    made = [path for frames in generated if (path := _path(frames)) is not None]
    return {
        "generated_px": _spread(_nearest(np.array(made), paths)),
        "true_px": _spread(_nearest(true.position[:, 0, :FRAMES], paths)),
        "training_paths": len(paths),
    }


def _path(frames) -> np.ndarray | None:
    """[F, 2] of the ball most often seen; None where it is missing from a frame."""
    tracks = follow(find_spots(frames), len(frames))
    return tracks[0].centre if tracks and tracks[0].seen.all() else None


def _nearest(paths: np.ndarray, training: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1) for x in (paths, training))
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return PIXELS * np.sqrt(np.maximum(squared.min(1), 0) / FRAMES)


def _spread(distances: np.ndarray) -> list[float]:
    """5th percentile, median, 95th percentile."""
    return [round(float(v), 2) for v in np.percentile(distances, [5, 50, 95])]
