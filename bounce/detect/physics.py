"""Measures from the frames whether balls move physically: six laws, each of which a clip satisfies or violates.

gravity: balls in flight accelerate as in the simulator. flight: between contacts, balls stay on a ballistic path.
contact: balls change direction at the floor and the walls only. restitution: a floor contact never increases the speed.
permanence: the number of balls is constant. continuity: balls never move too far between two frames.
A law without any measurement counts as violated, so a still image satisfies no law of motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .balls import Track, count_balls, find_spots, track_balls
from .contacts import GRAVITY, Motion, Piece, distances_to_path, find_turns, fit_motion

FLOOR, WALLS = 60 / 64, (3 / 64, 61 / 64)  # frame widths, as in the simulator
ON_THE_FLOOR = 2 / 64  # frame widths: tolerance for a ball at rest on the floor
CONTACT_OFF = 2 / 64  # frame widths: tolerance for the distance of a turn from the floor or a wall
SHORTEST_FLIGHT = 6  # frames that are needed to measure an acceleration
GRAVITY_OFF = 0.15  # tolerance, relative to the true acceleration
FLIGHT_OFF = 1.0 / 64  # frame widths: tolerance for the median distance to the path
GAIN = 1.1  # tolerance for the speed ratio, which is measured from two frames on either side
FASTEST = 6.0 / 64  # frame widths per frame: tolerance beyond the usual step of a ball


@dataclass(frozen=True)
class Physics:
    """The measurements of one clip; NaN where there was nothing to measure.

    gravity: median relative error of the acceleration in flight.
    flight: median distance of flying balls to their ballistic path, in frame widths.
    contact: largest distance of a turn from the floor or the nearest wall, in frame widths.
    restitution: largest ratio of the speeds after and before a floor contact.
    permanence: share of the frames with the most frequent number of balls.
    continuity: longest step between two frames beyond the usual step, in frame widths.
    """

    gravity: float
    flight: float
    contact: float
    restitution: float
    permanence: float
    continuity: float

    @property
    def laws(self) -> dict[str, bool]:
        """Whether each of the six laws is satisfied; False where the measurement is NaN."""
        return {
            "gravity": self.gravity <= GRAVITY_OFF,
            "flight": self.flight <= FLIGHT_OFF,
            "contact": self.contact <= CONTACT_OFF,
            "restitution": self.restitution <= GAIN,
            "permanence": self.permanence == 1.0,
            "continuity": self.continuity <= FASTEST,
        }

    @property
    def score(self) -> int:
        """The number of satisfied laws, 0 to 6."""
        return sum(self.laws.values())


def measure_physics(frames: np.ndarray | Tensor, fps: float) -> Physics:
    """Measures the six laws on `frames` [F, H, W, 3] in 0..1."""
    spots = find_spots(frames)
    tracks = track_balls(spots, len(frames))
    counts = count_balls(spots, len(frames))
    paths = [(track, fit_motion(track, fps)) for track in tracks]
    usual = np.bincount(counts).argmax() if len(counts) else 0
    return Physics(
        gravity=_median([error for track, path in paths for error in _gravity_errors(track, path, fps)]),
        flight=_median([distance for track, path in paths if _flies(path) for distance in distances_to_path(track, path)]),
        contact=max((off for track, path in paths for off in _contact_errors(track, path)), default=np.nan),
        restitution=max((ratio for _, path in paths for ratio in _restitutions(path)), default=np.nan),
        permanence=float((counts == usual).mean()) if usual else 0.0,
        continuity=max((_longest_jump(track) for track in tracks), default=np.nan),
    )


def _flies(path: Motion) -> bool:
    return any(piece.acceleration for piece in path.down)


def _gravity_errors(track: Track, path: Motion, fps: float) -> list[float]:
    """Returns the relative error of the fitted acceleration of each flight that is long enough, and 1 for a hovering ball."""
    true, errors, resting = GRAVITY / fps**2, [], FLOOR - np.nanmedian(track.radius) - ON_THE_FLOOR
    for piece in path.down:
        t = _seen(track, piece)
        if len(t) < SHORTEST_FLIGHT:
            continue
        if piece.acceleration:
            acceleration = 2 * np.polyfit(t - t[0], track.centre[t, 1], 2)[0]
            errors.append(abs(acceleration / true - 1))
        elif piece.place < resting:
            errors.append(1.0)
    return errors


def _contact_errors(track: Track, path: Motion) -> list[float]:
    """Returns the distance of each turn from the floor (y axis) or from the nearer wall (x axis)."""
    radius = np.nanmedian(track.radius)
    surfaces = (WALLS[0] + radius, WALLS[1] - radius), (FLOOR - radius,)
    return [min(abs(place - each) for each in surfaces[axis]) for axis, place in find_turns(path)]


def _restitutions(path: Motion) -> list[float]:
    """Returns the speed after divided by the speed before each floor contact between two flights."""
    ratios = []
    for before, after in zip(path.down, path.down[1:]):
        if before.acceleration and after.acceleration:
            t = (before.last + after.first) / 2
            down, up = before.speed(t), -after.speed(t)
            if down > 0 and up > 0:
                ratios.append(float(up / down))
    return ratios


def _longest_jump(track: Track) -> float:
    """Returns the longest step between two frames minus the 75th percentile of all steps."""
    steps = np.linalg.norm(np.diff(track.centre, axis=0), axis=1)
    steps = steps[np.isfinite(steps)]
    return float(steps.max() - np.percentile(steps, 75)) if len(steps) > 3 else np.nan


def _seen(track: Track, piece: Piece) -> np.ndarray:
    t = np.arange(piece.first, piece.last + 1)
    return t[track.seen[t]]


def _median(values: list[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
