"""The simulator of Bounce: balls that fall under gravity and bounce off a floor and two walls.

Lengths are fractions of the frame width (frames are square, y points down) and times are in seconds. Motion between
contacts is computed in closed form, so trajectories are exact. All computations are vectorised over clips.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

COLOURS = ("red", "yellow", "green", "cyan", "blue", "purple")
SIZES = ("small", "large")
MATERIALS = ("metal", "wood", "glass", "rubber")

FPS = 16
FRAMES = 32
SECONDS = FRAMES / FPS

PX = 1 / 64  # the lengths below were chosen on a 64-pixel frame
FLOOR = 60 * PX
WALLS = (3 * PX, 61 * PX)
GRAVITY = 250 * PX
RADII = {"small": (4.0 * PX, 4.8 * PX), "large": (7.0 * PX, 8.0 * PX)}
RESTITUTION = {"metal": 0.72, "wood": 0.62, "glass": 0.76, "rubber": 0.84}

LOWEST_REBOUND = 6 * PX  # a ball comes to rest instead of rebounding lower than this, which is not visible at 16 fps
SLOWEST_CONTACT = 24 * PX
FIRST_CONTACT, LAST_CONTACT = 2.5 / FPS, 29.0 / FPS
CONTACT_GAP = 2.5 / FPS
CONTACTS_PER_CLIP = (2, 6)
BALL_GAP = 3 * PX
FLOOR_CONTACTS, WALL_CONTACTS = 8, 4

SPLITS = {"train": 0, "val": 1, "test": 2}
HELD_OUT = frozenset(
    {
        ("red", "small", "metal"), ("green", "large", "metal"), ("blue", "small", "wood"), ("yellow", "large", "wood"),
        ("purple", "small", "glass"), ("cyan", "large", "glass"), ("yellow", "small", "rubber"),
        ("purple", "large", "rubber"),
    }
)  # fmt: skip
_HELD_OUT_SHARE_OF_TEST = 1 / 3
_BLOCK = 2048  # random worlds that are simulated together


@dataclass(frozen=True)
class Worlds:
    """N clips with one or two balls each.

    exists: bool [N, 2], which balls are present. colour, size, material: [N, 2], indices into the names above.
    radius: [N, 2], in frame widths.
    position: [N, 2, frames, 2], x and y of the centre of each ball in every frame.
    contact_time, contact_speed, contact_ball, contact_wall: [N, 7], sorted by time; time is `inf` in unused entries.
        Speed is the impact speed along the normal in frame widths per second. contact_wall is True for walls, False for the floor.
    """

    exists: np.ndarray
    colour: np.ndarray
    size: np.ndarray
    material: np.ndarray
    radius: np.ndarray
    position: np.ndarray
    contact_time: np.ndarray
    contact_speed: np.ndarray
    contact_ball: np.ndarray
    contact_wall: np.ndarray

    def __len__(self) -> int:
        return len(self.exists)

    def __getitem__(self, rows: slice | np.ndarray) -> Worlds:
        return Worlds(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def count(self) -> np.ndarray:
        """The number of balls in each clip, [N]."""
        return self.exists.sum(1)

    def held_out(self) -> np.ndarray:
        """Bool [N]: True where the (colour, size, material) of a ball is excluded from training."""
        return (_held_out(self.colour, self.size, self.material) & self.exists).any(1)

    @staticmethod
    def cat(parts: list[Worlds]) -> Worlds:
        """Concatenates clips."""
        return Worlds(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Worlds)})


def simulate(n: int, split: str, seed: int = 0, balls: int | None = None, frames: int = FRAMES + 1) -> Worlds:
    """Simulates `n` random clips.

    split: "train", "val" or "test". Splits share no clips; test also contains attribute combinations excluded from training.
    seed: random seed. The first clips are the same for every `n`.
    balls: 1 or 2 balls in every clip; None mixes both.
    frames: simulated frames per clip. The default is one more than the clip length of 32, for codecs that need 4k + 1 frames.
    Raises ValueError if `split` is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; use one of {', '.join(SPLITS)}")
    parts, have, block = [], 0, 0
    while have < n:
        rng = np.random.Generator(np.random.Philox([SPLITS[split], seed, balls or 0, block]))
        parts.append(_block(rng, split, balls, frames))
        have += len(parts[-1])
        block += 1
    return Worlds.cat(parts)[:n]


def _block(rng: np.random.Generator, split: str, balls: int | None, frames: int) -> Worlds:
    """Simulates a block of random worlds and returns the valid ones."""
    n = _BLOCK
    colour, size, material = (_draw(rng, n, len(names)) for names in (COLOURS, SIZES, MATERIALS))
    colour[:, 1] = (colour[:, 0] + 1 + rng.integers(0, len(COLOURS) - 1, n)) % len(COLOURS)
    if split == "test":
        _force_held_out(rng, colour, size, material)
        same = colour[:, 0] == colour[:, 1]
        colour[same, 1] = (colour[same, 1] + 1) % len(COLOURS)
    low, high = (np.array([RADII[s][end] for s in SIZES])[size] for end in (0, 1))
    radius = low + rng.random((n, 2)) * (high - low)
    count = np.full(n, balls) if balls else 1 + (rng.random(n) < 0.95)  # two-ball worlds are rejected more often
    exists = np.arange(2) < count[:, None]
    restitution = np.array([RESTITUTION[m] for m in MATERIALS])[material]

    left, right = WALLS[0] + radius, WALLS[1] - radius
    x = left + _separate_starts(rng.random((n, 2)), count) * (right - left)
    y = (6 * PX + radius) + rng.random((n, 2)) * (38 * PX - radius)
    vx = rng.uniform(3, 70, (n, 2)) * PX * rng.choice([-1, 1], (n, 2)) / count[:, None] ** 2
    vy = rng.uniform(-70, 60, (n, 2)) * PX
    times = np.arange(frames) / FPS
    ys, floor_time, floor_speed = _simulate_falls(y, vy, radius, restitution, times)
    xs, wall_time, wall_speed = _simulate_crossings(x, vx, (left, right), restitution, times)

    position = np.stack([xs, ys], -1)
    contact_times, contact_speeds = np.concatenate([floor_time, wall_time], -1), np.concatenate([floor_speed, wall_speed], -1)
    contacts = _sort_contacts(exists, frames, contact_times, contact_speeds)
    worlds = Worlds(exists, colour, size, material, radius, position, *contacts)
    ok = _acceptable(worlds, ys)
    if split != "test":
        ok &= ~worlds.held_out()
    return worlds[ok]


def _separate_starts(place: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Moves the starts of two balls into the left and right part of the frame, so that fewer worlds are rejected."""
    return np.where(count[:, None] == 2, 0.55 * np.array([0, 1]) + 0.45 * place, place)


def _draw(rng: np.random.Generator, n: int, choices: int) -> np.ndarray:
    return rng.integers(0, choices, (n, 2))


def _held_out(colour: np.ndarray, size: np.ndarray, material: np.ndarray) -> np.ndarray:
    table = np.zeros((len(COLOURS), len(SIZES), len(MATERIALS)), bool)
    for c, s, m in HELD_OUT:
        table[COLOURS.index(c), SIZES.index(s), MATERIALS.index(m)] = True
    return table[colour, size, material]


def _force_held_out(rng: np.random.Generator, colour: np.ndarray, size: np.ndarray, material: np.ndarray) -> None:
    combos = np.array([(COLOURS.index(c), SIZES.index(s), MATERIALS.index(m)) for c, s, m in sorted(HELD_OUT)])
    rows = np.flatnonzero(rng.random(len(colour)) < _HELD_OUT_SHARE_OF_TEST)
    colour[rows, 0], size[rows, 0], material[rows, 0] = combos[rng.integers(0, len(combos), len(rows))].T


def _simulate_falls(
    y: np.ndarray, vy: np.ndarray, radius: np.ndarray, restitution: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulates vertical motion. Returns heights [N, 2, F], and the times and speeds of floor contacts [N, 2, 8]."""
    rest = FLOOR - radius
    start, moving = np.zeros_like(y), np.ones_like(y, bool)
    ys = np.broadcast_to(y[..., None], (*y.shape, len(times))).copy()
    contact_times, speeds = [], []
    for _ in range(FLOOR_CONTACTS):
        elapsed = times - start[..., None]
        path = y[..., None] + vy[..., None] * elapsed + 0.5 * GRAVITY * moving[..., None] * elapsed**2
        ys = np.where(elapsed >= 0, path, ys)
        impact = np.sqrt(np.maximum(vy**2 + 2 * GRAVITY * (rest - y), 0))
        hit = np.where(moving, start + (impact - vy) / GRAVITY, np.inf)
        contact_times.append(hit)
        speeds.append(impact)
        rebound = restitution * impact
        moving = moving & (rebound**2 / (2 * GRAVITY) >= LOWEST_REBOUND)
        start, y, vy = hit, rest, np.where(moving, -rebound, 0.0)
        start = np.where(np.isfinite(hit), hit, 1e9)
    return ys, np.stack(contact_times, -1), np.stack(speeds, -1)


def _simulate_crossings(
    x: np.ndarray, vx: np.ndarray, walls: tuple[np.ndarray, np.ndarray], restitution: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulates horizontal motion. Returns positions [N, 2, F], and the times and speeds of wall contacts [N, 2, 4]."""
    left, right = walls
    start = np.zeros_like(x)
    xs = np.empty((*x.shape, len(times)))
    contact_times, speeds = [], []
    for _ in range(WALL_CONTACTS + 1):
        elapsed = times - start[..., None]
        xs = np.where(elapsed >= 0, x[..., None] + vx[..., None] * elapsed, xs)
        wall = np.where(vx > 0, right, left)
        start = start + (wall - x) / vx
        contact_times.append(start)
        speeds.append(np.abs(vx))
        x, vx = wall, -restitution * vx
    return xs, np.stack(contact_times[:-1], -1), np.stack(speeds[:-1], -1)


def _sort_contacts(exists: np.ndarray, frames: int, time: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sorts the contacts of each clip by time.

    time, speed: [N, 2, contacts], floor contacts first. Returns contact_time, contact_speed, contact_ball and contact_wall.
    """
    n = len(exists)
    time = np.where(exists[..., None] & (time < frames / FPS), time, np.inf)
    ball = np.broadcast_to(np.arange(2)[None, :, None], time.shape)
    wall = np.broadcast_to(np.arange(time.shape[-1]) >= FLOOR_CONTACTS, time.shape)
    flat = [a.reshape(n, -1) for a in (time, speed, ball, wall)]
    order = np.argsort(flat[0], axis=1, kind="stable")[:, : CONTACTS_PER_CLIP[1] + 1]
    return tuple(np.take_along_axis(a, order, 1) for a in flat)


def _acceptable(w: Worlds, ys: np.ndarray) -> np.ndarray:
    """Bool [N]: True where each contact can be seen and heard separately, and the balls never touch."""
    real = np.isfinite(w.contact_time)
    contacts = real.sum(1)
    lowest, highest = CONTACTS_PER_CLIP
    ok = (contacts >= lowest) & (contacts <= highest)
    ok &= (~real | ((w.contact_time >= FIRST_CONTACT) & (w.contact_time <= LAST_CONTACT))).all(1)
    ok &= (~real | (w.contact_speed >= SLOWEST_CONTACT)).all(1)
    ok &= (np.diff(np.where(real, w.contact_time, 1e6 * (1 + np.arange(real.shape[1]))), axis=1) >= CONTACT_GAP).all(1)
    ok &= (~w.exists | ((ys - w.radius[..., None]).min(2) >= 2 * PX)).all(1)
    heard = np.stack([(real & (w.contact_ball == b)).any(1) for b in range(2)], 1)
    ok &= (heard == w.exists).all(1)
    distance = np.linalg.norm(w.position[:, 0] - w.position[:, 1], axis=-1).min(1)
    return ok & (~w.exists.all(1) | (distance >= w.radius.sum(1) + BALL_GAP))
