"""Whether balls move as balls do, by what is seen alone: six laws, each kept or broken by a clip.

Gravity: a ball in flight falls with the world's acceleration. Flight: between contacts it stays on one such path.
Contact: it turns where it meets the floor or a wall, and nowhere else. Restitution: a floor contact takes speed from it,
never gives any. Permanence: balls are neither born nor lost. Continuity: a ball is never where it could not have come from
the frame before. A law that nothing was seen of is not kept: a still picture obeys none that is about motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .balls import Track, ball_count, find_spots, follow
from .contacts import GRAVITY, Motion, Piece, distances, motion, turns

FLOOR, WALLS = 60 / 64, (3 / 64, 61 / 64)  # widths: Bounce's own
ON_THE_FLOOR = 2 / 64  # widths: how near a ball that rests on it may be seen
CONTACT_OFF = 2 / 64  # widths: how far from floor or wall a turn may be seen
SHORTEST_FLIGHT = 6  # frames from which an acceleration can be measured
GRAVITY_OFF = 0.15  # of the true acceleration
FLIGHT_OFF = 1.0 / 64  # widths, median over a clip's frames
GAIN = 1.1  # a contact measured from two frames on either side may look this much too elastic
FASTEST = 6.0 / 64  # widths a frame beyond a ball's usual step


@dataclass(frozen=True)
class Physics:
    """What was measured of a clip; NaN where there was nothing to measure.

    `gravity`: median relative error of the acceleration in flight. `flight`: median distance of balls that fly from their
    ballistic path, in widths. `contact`: the largest distance of a turn from what could be met there, in widths.
    `restitution`: the largest ratio of speeds after and before a floor contact. `permanence`: the share of frames with the
    clip's usual number of balls. `continuity`: the longest unexplained step of a ball between frames, in widths.
    """

    gravity: float
    flight: float
    contact: float
    restitution: float
    permanence: float
    continuity: float

    @property
    def laws(self) -> dict[str, bool]:
        """Which of the six are kept: NaN keeps none."""
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
        """0 to 6: laws kept."""
        return sum(self.laws.values())


def physics(frames, fps: float) -> Physics:
    """Of `frames` [F, H, W, 3] in 0..1 at `fps`."""
    spots = find_spots(frames)
    tracks = follow(spots, len(frames))
    counts = ball_count(spots, len(frames))
    paths = [(track, motion(track, fps)) for track in tracks]
    usual = np.bincount(counts).argmax() if len(counts) else 0
    return Physics(
        gravity=_median([error for track, path in paths for error in _gravity_errors(track, path, fps)]),
        flight=_median([distance for track, path in paths if _flies(path) for distance in distances(track, path)]),
        contact=max((off for track, path in paths for off in _off_contacts(track, path)), default=np.nan),
        restitution=max((ratio for _, path in paths for ratio in _restitutions(path)), default=np.nan),
        permanence=float((counts == usual).mean()) if usual else 0.0,
        continuity=max((_longest_jump(track) for track in tracks), default=np.nan),
    )


def _flies(path: Motion) -> bool:
    return any(piece.acceleration for piece in path.down)


def _gravity_errors(track: Track, path: Motion, fps: float) -> list[float]:
    """Of each flight long enough: how far off the acceleration of the parabola that fits it best is, relatively; all of
    it where a ball hovers above the floor."""
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


def _off_contacts(track: Track, path: Motion) -> list[float]:
    """Of each turn, how far from the floor (down) or the nearer wall (across) the ball is then."""
    radius = np.nanmedian(track.radius)
    met = (WALLS[0] + radius, WALLS[1] - radius), (FLOOR - radius,)
    return [min(abs(place - each) for each in met[axis]) for axis, place in turns(path)]


def _restitutions(path: Motion) -> list[float]:
    """Speed after over speed before, of each floor contact between two flights."""
    ratios = []
    for before, after in zip(path.down, path.down[1:]):
        if before.acceleration and after.acceleration:
            t = (before.last + after.first) / 2
            down, up = before.speed(t), -after.speed(t)
            if down > 0 and up > 0:
                ratios.append(float(up / down))
    return ratios


def _longest_jump(track: Track) -> float:
    """The longest step between neighbouring frames beyond the clip's own usual largest one."""
    steps = np.linalg.norm(np.diff(track.centre, axis=0), axis=1)
    steps = steps[np.isfinite(steps)]
    return float(steps.max() - np.percentile(steps, 75)) if len(steps) > 3 else np.nan


def _seen(track: Track, piece: Piece) -> np.ndarray:
    t = np.arange(piece.first, piece.last + 1)
    return t[track.seen[t]]


def _median(values) -> float:
    return float(np.median(values)) if len(values) else float("nan")
