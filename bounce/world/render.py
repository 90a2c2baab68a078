"""Renders Bounce clips: shaded balls in front of a grey wall. The texture shows the material, the radius the size."""

from __future__ import annotations

import numpy as np

from .world import COLOURS, FLOOR, MATERIALS, RADII, WALLS, Worlds

RGB = {
    "red": (0.90, 0.12, 0.12), "yellow": (0.92, 0.85, 0.10), "green": (0.12, 0.78, 0.16),
    "cyan": (0.10, 0.80, 0.88), "blue": (0.15, 0.22, 0.95), "purple": (0.80, 0.15, 0.85),
}  # fmt: skip
BACKGROUND, GROUND = 0.30, 0.44
EDGE = 2.5 / 128  # width of the soft edge of a ball, in frame widths


def background(size: int) -> np.ndarray:
    """Renders the empty scene. Returns float32 [size, size, 3] in 0..1."""
    line = (np.arange(size) + 0.5) / size
    inside = _ramp(line - WALLS[0], size) * _ramp(WALLS[1] - line, size)
    above = _ramp(FLOOR - line, size)
    grey = GROUND + (BACKGROUND - GROUND) * above[:, None] * inside[None, :]
    return np.repeat(grey[..., None], 3, -1).astype(np.float32)


def render(worlds: Worlds, size: int) -> np.ndarray:
    """Renders all frames of all clips. Returns uint8 [N, F, size, size, 3]; `size` is in pixels."""
    n, _, frames, _ = worlds.position.shape
    out = np.broadcast_to((background(size) * 255 + 0.5).astype(np.uint8), (n, frames, size, size, 3)).copy()
    for ball in range(2):
        rows = np.flatnonzero(worlds.exists[:, ball])
        if len(rows):
            _paint(out, worlds, rows, ball, size)
    return out


def _ramp(distance: np.ndarray, size: int) -> np.ndarray:
    return np.clip(distance * size + 0.5, 0, 1)


def _paint(out: np.ndarray, worlds: Worlds, rows: np.ndarray, ball: int, size: int) -> None:
    """Paints one ball into `rows` of `out` in place. Only a square around the ball is computed."""
    side = int(np.ceil((2 * RADII["large"][1] + 2 * EDGE) * size)) + 2
    centre = worlds.position[rows, ball].astype(np.float32) * size
    corner = np.clip(np.floor(centre - side / 2).astype(int), 0, size - side)
    offset = np.arange(side, dtype=np.float32) + 0.5
    radius = worlds.radius[rows, ball].astype(np.float32)[:, None, None] * size
    start = (corner - centre).astype(np.float32)
    u = ((start[..., 0, None] + offset) / radius)[:, :, None, :]
    v = ((start[..., 1, None] + offset) / radius)[:, :, :, None]
    r = np.sqrt(u * u + v * v)
    cover = np.clip((1 - r) * (radius[..., None] / np.float32(EDGE * size)) + np.float32(0.5), 0, 1)

    frames = out.shape[1]
    pixels = out.reshape(-1, 3)
    picture = (rows[:, None] * frames + np.arange(frames)) * size
    lines = (picture[..., None] + corner[..., 1, None] + np.arange(side)) * size
    where = lines[..., None] + (corner[..., 0, None] + np.arange(side))[:, :, None, :]
    behind = pixels[where].astype(np.float32)
    colour = np.array([RGB[c] for c in COLOURS], np.float32)[worlds.colour[rows, ball]][:, None, None, None, :]
    paint = _shade(colour, worlds.material[rows, ball], u, v, r) * np.float32(255)
    paint -= behind
    paint *= cover[..., None]
    behind += paint + np.float32(0.5)
    pixels[where] = behind.astype(np.uint8)


def _shade(colour: np.ndarray, material: np.ndarray, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Computes the texture: metal has a highlight at the upper left, wood has bands, glass a rim only, rubber is flat.

    u, v: offsets from the centre, in radii; r: their distance from the centre.
    """
    out = np.empty((*r.shape, 3), np.float32)
    for index, name in enumerate(MATERIALS):
        rows = material == index
        if rows.any():
            out[rows] = _TEXTURES[name](colour[rows], u[rows, ..., None], v[rows, ..., None], r[rows, ..., None])
    return np.clip(out, 0, 1)


def _metal(colour: np.ndarray, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    shine = np.exp(-((u + 0.35) ** 2 + (v + 0.35) ** 2) / 0.16)
    return colour * (1.0 - 0.45 * np.clip(r, 0, 1) ** 2) + 0.85 * shine


def _wood(colour: np.ndarray, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    return colour * (0.72 + 0.28 * np.sin(2 * np.pi * 1.1 * (v + 0.1)))


def _glass(colour: np.ndarray, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    rim = np.clip((r - 0.55) / 0.3, 0, 1)
    return BACKGROUND + 0.06 + (colour - BACKGROUND) * (0.25 + 0.75 * rim)


def _rubber(colour: np.ndarray, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    return colour * 0.85 + 0 * r


_TEXTURES = {"metal": _metal, "wood": _wood, "glass": _glass, "rubber": _rubber}
