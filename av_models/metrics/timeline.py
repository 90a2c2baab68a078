"""A score as a picture: motion above, sound below, the events of both between them. What meets is green, misses are red."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .score import Score
from .sound_events import ENVELOPE

NARROWEST, WIDEST, SECOND = 960, 4096, 96  # pixels
TEXT, TRACK, LANE = 16, 96, 56  # pixels: heights of a line of text, an envelope and the events
GROUND, GRID, WORDS = (18, 18, 18), (52, 52, 52), (235, 235, 235)
MOTION, SOUND = (255, 210, 60), (90, 220, 255)
MET, MISSED = (80, 220, 100), (240, 80, 70)
_TOP = 2 * TEXT  # of the motion; the lane and the sound follow, then the seconds


def draw_timeline(score: Score) -> np.ndarray:
    """uint8 [H, W, 3]; H is always the same, W grows with the clip up to WIDEST."""
    seconds = max(score.seconds, score.sound.seconds if score.sound else 0.0)
    width = int(np.clip(round(seconds * SECOND), NARROWEST, WIDEST))
    image = Image.new("RGB", (width, _TOP + 2 * TRACK + LANE + TEXT), GROUND)
    draw = ImageDraw.Draw(image)
    scale = width / seconds
    _draw_seconds(draw, seconds, scale, image.height)
    _draw_envelope(draw, score.motion.times, score.motion.amount, scale, width, _TOP + TRACK, -1, MOTION)
    if score.sound:
        times = ENVELOPE * np.arange(len(score.envelope))
        _draw_envelope(draw, times, score.envelope, scale, width, _TOP + TRACK + LANE, 1, SOUND)
    _draw_events(draw, score, scale)
    for row, line in enumerate(_title(score)):
        draw.text((4, 2 + row * TEXT), line, fill=WORDS)
    return np.asarray(image)


def _title(score: Score) -> list[str]:
    """The first says what is drawn, the second how well it meets."""
    found = [line for line in score.lines() if line.startswith(("sync:", "offset:"))]
    return ["motion (yellow), sound (blue), events that meet (green), misses (red)", "; ".join(found) or "no sound"]


def _draw_seconds(draw: ImageDraw.ImageDraw, seconds: float, scale: float, height: int) -> None:
    step = next((each for each in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300) if each * scale >= 60), 600)
    for k in range(int(seconds / step) + 1):
        x = k * step * scale
        draw.line([(x, _TOP), (x, height - TEXT)], fill=GRID)
        draw.text((x + 2, height - TEXT + 2), f"{k * step:g} s", fill=WORDS)


def _draw_envelope(draw, times, values, scale: float, width: int, base: int, direction: int, colour) -> None:
    """From `base` up (−1) or down (+1), a column a pixel, as high as TRACK at the largest value."""
    columns = np.minimum((times * scale).astype(int), width - 1)
    heights = np.zeros(width)
    np.maximum.at(heights, columns, values)
    heights = _held(heights, columns) * (TRACK - 4) / max(float(values.max(initial=0)), 1e-9)
    for x in np.flatnonzero(heights >= 0.5):
        draw.line([(int(x), base), (int(x), base + direction * float(heights[x]))], fill=colour)


def _held(heights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Columns between two values show the earlier one; the last is as wide as the widest of the others."""
    x = np.arange(len(heights))
    widest = np.diff(columns).max(initial=1)
    before = columns[np.searchsorted(columns, x, "right") - 1]
    return np.where((x >= columns[0]) & (x < columns[-1] + widest), heights[before], 0.0)


def _draw_events(draw: ImageDraw.ImageDraw, score: Score, scale: float) -> None:
    """Events seen hang from the top of the lane, those heard stand on its floor; a line joins a pair."""
    top, floor = _TOP + TRACK + 2, _TOP + TRACK + LANE - 2
    seen, heard = (score.sync.seen, score.sync.heard) if score.sync else (score.seen, np.zeros(0))
    pairs = score.sync.matching.pairs if score.sync else np.zeros((0, 2), int)
    for times, met, edge, tip in ((seen, pairs[:, 0], top, top + LANE // 3), (heard, pairs[:, 1], floor, floor - LANE // 3)):
        for k, time in enumerate(times):
            draw.line([(time * scale, edge), (time * scale, tip)], fill=MET if k in met else MISSED, width=3)
    for i, j in pairs:
        draw.line([(seen[i] * scale, top + LANE // 3), (heard[j] * scale, floor - LANE // 3)], fill=MET, width=2)
