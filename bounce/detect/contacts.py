"""When a ball touches the floor or a wall, from its path alone: where a ballistic path has a kink.

Across, a free ball moves on a straight line, and down on a parabola of known curvature; a ball at rest stays where it
is. The path is cut into as few such pieces as explain it (optimal partitioning, Jackson et al. 2005), each axis by
itself, and a contact is where two pieces meet with velocities that differ abruptly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .balls import Track

GRAVITY = 250 / 64  # widths per second², Bounce's own
PIECE_COST = 3.0 / 64**2  # squared widths of error that one more piece must explain
KINK = 18 / 64  # widths per second: a smaller change of velocity is no contact
SAME_CONTACT = 1.6  # frames: two kinks closer are one contact
JUMP = 14 / 64  # widths: a ball that is further from where its neighbours have it was not followed


@dataclass(frozen=True)
class Piece:
    """Frames `first` .. `last` (inclusive): place(t) = place + velocity·t + ½·acceleration·t², t in frames."""

    first: int
    last: int
    place: float
    velocity: float
    acceleration: float

    def at(self, t):
        return self.place + self.velocity * t + 0.5 * self.acceleration * t * t

    def speed(self, t):
        return self.velocity + self.acceleration * t


@dataclass(frozen=True)
class Motion:
    """A ball's path: contact times in seconds (sorted) and the pieces between contacts, across and down."""

    contacts: np.ndarray
    across: list[Piece]
    down: list[Piece]


def motion(track: Track, fps: float) -> Motion:
    """The contacts and the ballistic pieces of one ball."""
    x, y = (_without_jumps(track.centre[:, axis]) for axis in (0, 1))
    gravity = GRAVITY / fps**2
    kinks_x, kinks_y = _kinks(x, 0.0, KINK / fps), _kinks(y, gravity, KINK / fps)
    times = np.sort(np.array(kinks_x + kinks_y, float))
    times = times[np.diff(times, prepend=-np.inf) > SAME_CONTACT]
    return Motion(times / fps, _between(x, kinks_x, 0.0), _between(y, kinks_y, gravity))


def contacts(tracks: list[Track], fps: float) -> np.ndarray:
    """The contacts of all balls of a clip in seconds, sorted."""
    return np.sort(np.concatenate([motion(track, fps).contacts for track in tracks])) if tracks else np.zeros(0)


def turns(path: Motion) -> list[tuple[int, float]]:
    """Each of a path's contacts: along which axis the ball turns (0 across, 1 down), and its place on it then, in widths."""
    found = []
    for axis, pieces in enumerate((path.across, path.down)):
        for before, after in zip(pieces, pieces[1:]):
            t = _meeting(before, after)
            found.append((axis, float(before.at(t) + after.at(t)) / 2))
    return found


def residual(track: Track, fps: float) -> np.ndarray:
    """How far the ball is from its ballistic path between contacts in each frame where it is seen, in widths, [≤ F]."""
    return distances(track, motion(track, fps))


def distances(track: Track, path: Motion) -> np.ndarray:
    """The same, of a `path` that is known."""
    squares = np.zeros(len(track.centre))
    for axis, pieces in ((0, path.across), (1, path.down)):
        for piece in pieces:
            t = np.arange(piece.first, piece.last + 1)
            squares[t] += (track.centre[t, axis] - piece.at(t)) ** 2
    return np.sqrt(squares[track.seen])


def fit(z: np.ndarray, first: int, last: int, gravity: float) -> Piece:
    """The free path (or rest, where that explains a fall's end better) nearest to z[first .. last], by least squares."""
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
    """Places far from the median of five are unseen: the wrong spot was followed there."""
    padded = np.pad(z, 2, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 5)
    seen = np.isfinite(around)
    ordered = np.sort(around, axis=1)  # NaN last
    middle = ordered[np.arange(len(z)), np.maximum(seen.sum(1) - 1, 0) // 2]
    return np.where(np.abs(z - middle) > JUMP, np.nan, z)


def _kinks(z: np.ndarray, gravity: float, smallest: float) -> list[float]:
    """Times in frames at which the path turns abruptly: upwards where there is gravity, either way where there is none."""
    pieces = _partition(z, gravity)
    found = []
    for before, after in zip(pieces, pieces[1:]):
        t = _meeting(before, after)
        change = after.speed(t) - before.speed(t)
        if (change <= -smallest) if gravity else (abs(change) >= smallest and before.velocity * after.velocity <= 0):
            found.append(t)
    return found


def _partition(z: np.ndarray, gravity: float) -> list[Piece]:
    """Cut z [F] into the pieces of least total squared error plus PIECE_COST each."""
    t = np.flatnonzero(np.isfinite(z))
    n = len(t)
    if n < 2:
        return []
    cost = _costs(t.astype(float), z[t], gravity)
    best, came = np.full(n + 1, np.inf), np.zeros(n + 1, int)
    best[0] = 0
    for end in range(2, n + 1):
        total = best[: end - 1] + cost[: end - 1, end]
        came[end] = total.argmin()
        best[end] = total[came[end]] + PIECE_COST
    cuts = [n]
    while cuts[-1]:
        cuts.append(came[cuts[-1]])
    return [fit(z, t[a], t[b - 1], gravity) for a, b in zip(cuts[:0:-1], cuts[-2::-1])]


def _costs(t: np.ndarray, z: np.ndarray, gravity: float) -> np.ndarray:
    """Squared error of the best piece over points i .. j − 1, [n, n + 1], from running sums."""
    fallen = z - 0.5 * gravity * t * t

    def between(values):
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
    """The time in frames, between the last frame of one piece and the first of the next, where they come nearest."""
    low, high = before.last, after.first
    t = np.linspace(low, high, 33)
    return float(t[np.abs(before.at(t) - after.at(t)).argmin()])


def _between(z: np.ndarray, kinks: list[float], gravity: float) -> list[Piece]:
    """One piece from each contact to the next."""
    edges = [0, *(int(np.ceil(k)) for k in kinks), len(z)]
    spans = [(a, b - 1) for a, b in zip(edges, edges[1:]) if b > a and np.isfinite(z[a:b]).any()]
    return [fit(z, a, b, gravity) for a, b in spans]
