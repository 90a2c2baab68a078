"""Finds contacts with the floor and the walls from the path of a ball.

A free ball moves horizontally on a straight line and vertically on a parabola of known curvature; a ball at rest does not
move. Each axis of the path is split into the pieces of least total cost (optimal partitioning, Jackson et al. 2005). A
contact is a boundary of two pieces at which the velocity changes abruptly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .balls import Track

Time = TypeVar("Time", float, np.ndarray)

GRAVITY = 250 / 64  # frame widths per second², as in the simulator
PIECE_COST = 3.0 / 64**2  # cost of one more piece, in squared frame widths
KINK = 18 / 64  # smallest change of velocity at a contact, in frame widths per second
SAME_CONTACT = 1.6  # frames: kinks that are closer together count as one contact
JUMP = 14 / 64  # frame widths: positions further from the local median are tracking errors


@dataclass(frozen=True)
class Piece:
    """One piece of a path on one axis, for frames `first` to `last` inclusive.

    position(t) = place + velocity·t + ½·acceleration·t² in frame widths, with t in frames.
    """

    first: int
    last: int
    place: float
    velocity: float
    acceleration: float

    def at(self, t: Time) -> Time:
        """Returns the position at time `t`."""
        return self.place + self.velocity * t + 0.5 * self.acceleration * t * t

    def speed(self, t: Time) -> Time:
        """Returns the velocity at time `t`."""
        return self.velocity + self.acceleration * t


@dataclass(frozen=True)
class Motion:
    """The path of a ball: sorted contact times in seconds, and the pieces between contacts on the x axis and the y axis."""

    contacts: np.ndarray
    across: list[Piece]
    down: list[Piece]


def fit_motion(track: Track, fps: float) -> Motion:
    """Fits the contacts and the ballistic pieces of one ball."""
    x, y = (_without_jumps(track.centre[:, axis]) for axis in (0, 1))
    gravity = GRAVITY / fps**2
    kinks_x, kinks_y = _kinks(x, 0.0, KINK / fps), _kinks(y, gravity, KINK / fps)
    times = np.sort(np.array(kinks_x + kinks_y, float))
    times = times[np.diff(times, prepend=-np.inf) > SAME_CONTACT]
    return Motion(times / fps, _between(x, kinks_x, 0.0), _between(y, kinks_y, gravity))


def find_contacts(tracks: list[Track], fps: float) -> np.ndarray:
    """Returns the sorted contact times in seconds of all balls of a clip."""
    return np.sort(np.concatenate([fit_motion(track, fps).contacts for track in tracks])) if tracks else np.zeros(0)


def find_turns(path: Motion) -> list[tuple[int, float]]:
    """Returns each contact of a path: the axis (0 for x, 1 for y) and the position on that axis in frame widths."""
    found = []
    for axis, pieces in enumerate((path.across, path.down)):
        for before, after in zip(pieces, pieces[1:]):
            t = _meeting(before, after)
            found.append((axis, float(before.at(t) + after.at(t)) / 2))
    return found


def path_residuals(track: Track, fps: float) -> np.ndarray:
    """Fits a path and returns the distances to it in frame widths, one for each frame in which the ball is visible."""
    return distances_to_path(track, fit_motion(track, fps))


def distances_to_path(track: Track, path: Motion) -> np.ndarray:
    """Returns the distances to a fitted path in frame widths, one for each frame in which the ball is visible."""
    squares = np.zeros(len(track.centre))
    for axis, pieces in ((0, path.across), (1, path.down)):
        for piece in pieces:
            t = np.arange(piece.first, piece.last + 1)
            squares[t] += (track.centre[t, axis] - piece.at(t)) ** 2
    return np.sqrt(squares[track.seen])


def _fit_piece(z: np.ndarray, first: int, last: int, gravity: float) -> Piece:
    """Fits free motion to z[first .. last] by least squares. With gravity, fits rest instead if its error is smaller."""
    t = np.arange(first, last + 1)[np.isfinite(z[first : last + 1])]
    free = _line(t, z[t] - 0.5 * gravity * t * t)
    piece = Piece(first, last, *free, gravity)
    rest = Piece(first, last, float(z[t].mean()), 0.0, 0.0)
    error = [np.square(z[t] - p.at(t)).sum() for p in (piece, rest)]
    return rest if gravity and error[1] < error[0] else piece


def _line(t: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    if len(t) < 2:
        return float(z.mean()), 0.0
    centred = t - t.mean()
    slope = float((centred * z).sum() / (centred**2).sum())
    return float(z.mean() - slope * t.mean()), slope


def _without_jumps(z: np.ndarray) -> np.ndarray:
    """Sets positions far from the median of five frames to NaN: the wrong spot was tracked there."""
    padded = np.pad(z, 2, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 5)
    seen = np.isfinite(around)
    ordered = np.sort(around, axis=1)  # NaN last
    middle = ordered[np.arange(len(z)), np.maximum(seen.sum(1) - 1, 0) // 2]
    return np.where(np.abs(z - middle) > JUMP, np.nan, z)


def _kinks(z: np.ndarray, gravity: float, smallest: float) -> list[float]:
    """Returns the times in frames of abrupt changes of velocity: upwards with gravity, a change of sign without."""
    pieces = _partition(z, gravity)
    found = []
    for before, after in zip(pieces, pieces[1:]):
        t = _meeting(before, after)
        change = after.speed(t) - before.speed(t)
        if (change <= -smallest) if gravity else (abs(change) >= smallest and before.velocity * after.velocity <= 0):
            found.append(t)
    return found


def _partition(z: np.ndarray, gravity: float) -> list[Piece]:
    """Splits z [F] into the pieces of least total squared error plus PIECE_COST per piece."""
    t = np.flatnonzero(np.isfinite(z))
    n = len(t)
    if n < 2:
        return []
    cost = _piece_costs(t.astype(float), z[t], gravity)
    best, came = np.full(n + 1, np.inf), np.zeros(n + 1, int)
    best[0] = 0
    for end in range(2, n + 1):
        total = best[: end - 1] + cost[: end - 1, end]
        came[end] = total.argmin()
        best[end] = total[came[end]] + PIECE_COST
    cuts = [n]
    while cuts[-1]:
        cuts.append(came[cuts[-1]])
    return [_fit_piece(z, t[a], t[b - 1], gravity) for a, b in zip(cuts[:0:-1], cuts[-2::-1])]


def _piece_costs(t: np.ndarray, z: np.ndarray, gravity: float) -> np.ndarray:
    """Returns the squared error of the best piece over points i .. j − 1 as [n, n + 1], computed from running sums."""
    fallen = z - 0.5 * gravity * t * t

    def between(values: np.ndarray) -> np.ndarray:
        running = np.concatenate([[0.0], np.cumsum(values)])
        return running[None, :] - running[:-1, None]

    count = np.maximum(between(np.ones_like(t)), 1)
    st, stt, sz, szz, stz = (between(v) for v in (t, t * t, fallen, fallen * fallen, t * fallen))
    spread_t, spread_z, joint = stt - st**2 / count, szz - sz**2 / count, stz - st * sz / count
    free = spread_z - joint**2 / np.maximum(spread_t, 1e-9)
    if not gravity:
        return np.maximum(free, 0)
    rest = between(z * z) - between(z) ** 2 / count
    return np.maximum(np.minimum(free, rest), 0)


def _meeting(before: Piece, after: Piece) -> float:
    """Returns the time in frames, between two pieces, at which they are closest."""
    low, high = before.last, after.first
    t = np.linspace(low, high, 33)
    return float(t[np.abs(before.at(t) - after.at(t)).argmin()])


def _between(z: np.ndarray, kinks: list[float], gravity: float) -> list[Piece]:
    """Fits one piece from each contact to the next."""
    edges = [0, *(int(np.ceil(k)) for k in kinks), len(z)]
    spans = [(a, b - 1) for a, b in zip(edges, edges[1:]) if b > a and np.isfinite(z[a:b]).any()]
    return [_fit_piece(z, a, b, gravity) for a, b in spans]
