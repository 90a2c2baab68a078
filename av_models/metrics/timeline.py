"""Draw a score as an image: motion at the top, audio at the bottom, events between them (green: matched, red: unmatched).

Below them is a score's agreement over time, if it was measured with a binder.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .agreement import PAIRS, Agreement, Chance, pair_in_words
from .score import Score
from .sound_events import ENVELOPE

MIN_WIDTH, MAX_WIDTH, PER_SECOND = 960, 4096, 96  # pixels
TEXT, TRACK, LANE = 16, 96, 56  # pixels: heights of a line of text, an envelope and the events
BACKGROUND, GRID, TEXT_COLOR = (18, 18, 18), (52, 52, 52), (235, 235, 235)
MOTION, SOUND = (255, 210, 60), (90, 220, 255)
MATCHED, MISSED = (80, 220, 100), (240, 80, 70)
PAIR_COLORS = {"video_audio": (80, 220, 100), "video_prompt": MOTION, "audio_prompt": SOUND}
_COLOR_NAMES = {"video_audio": "green", "video_prompt": "yellow", "audio_prompt": "blue"}
DASH = 6  # pixels
_TOP = 2 * TEXT  # of the motion; the events, the audio and the time axis follow


def draw_timeline(score: Score, chance: Chance | None = None) -> np.ndarray:
    """Return an image, uint8 [H, W, 3]. H is the same for all scores with a binder, and for all without; W grows with the
    duration up to MAX_WIDTH. chance: drawn as dashed lines below the agreement.
    """
    seconds = max(score.seconds, score.sound.seconds if score.sound else 0.0)
    width = int(np.clip(round(seconds * PER_SECOND), MIN_WIDTH, MAX_WIDTH))
    bottom = _TOP + 2 * TRACK + LANE
    image = Image.new("RGB", (width, bottom + (2 * TEXT + TRACK if score.agreement else 0) + TEXT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    scale = width / seconds
    _draw_seconds(draw, seconds, scale, image.height)
    motion = _envelope_columns(score.motion.times, score.motion.amount, scale, width)
    _draw_envelope(draw, motion, _TOP + TRACK, -1, MOTION)
    if score.envelope is not None:
        times = ENVELOPE * np.arange(len(score.envelope))
        _draw_envelope(draw, _envelope_columns(times, score.envelope, scale, width), _TOP + TRACK + LANE, 1, SOUND)
    _draw_events(draw, score, scale)
    if score.agreement:
        _draw_agreement(draw, score.agreement, chance, scale, bottom)
    for row, line in enumerate(_title(score)):
        draw.text((4, 2 + row * TEXT), line, fill=TEXT_COLOR)
    return np.asarray(image)


def _title(score: Score) -> list[str]:
    """Return two lines: the legend, and the sync and offset lines of the score."""
    found = [line for line in score.lines() if line.startswith(("sync:", "offset:"))]
    return ["motion (yellow), audio (blue), matched events (green), unmatched events (red)", "; ".join(found) or "no audio"]


def _draw_seconds(draw: ImageDraw.ImageDraw, seconds: float, scale: float, height: int) -> None:
    step = next((each for each in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300) if each * scale >= 60), 600)
    for k in range(int(seconds / step) + 1):
        x = k * step * scale
        draw.line([(x, _TOP), (x, height - TEXT)], fill=GRID)
        draw.text((x + 2, height - TEXT + 2), f"{k * step:g} s", fill=TEXT_COLOR)


def _envelope_columns(times: np.ndarray, values: np.ndarray, scale: float, width: int) -> np.ndarray:
    """Return the height in pixels of each column, [width]; the largest value fills the TRACK."""
    columns = np.minimum((times * scale).astype(int), width - 1)
    heights = np.zeros(width)
    np.maximum.at(heights, columns, values)
    return _fill_gaps(heights, columns) * (TRACK - 4) / max(float(values.max(initial=0)), 1e-9)


def _draw_envelope(draw: ImageDraw.ImageDraw, heights: np.ndarray, base: int, direction: int, color: tuple[int, ...]) -> None:
    """Draw columns from `base` up (direction −1) or down (+1)."""
    for x in np.flatnonzero(heights >= 0.5):
        draw.line([(int(x), base), (int(x), base + direction * float(heights[x]))], fill=color)


def _fill_gaps(heights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Repeat each value up to the next one; the last value is as wide as the widest of the others."""
    x = np.arange(len(heights))
    widest = np.diff(columns).max(initial=1)
    before = columns[np.searchsorted(columns, x, "right") - 1]
    return np.where((x >= columns[0]) & (x < columns[-1] + widest), heights[before], 0.0)


def _draw_events(draw: ImageDraw.ImageDraw, score: Score, scale: float) -> None:
    """Draw video events at the top of the lane and audio events at its bottom; a line connects each matched pair."""
    top, floor = _TOP + TRACK + 2, _TOP + TRACK + LANE - 2
    seen, heard = (score.sync.seen, score.sync.heard) if score.sync else (score.seen, np.zeros(0))
    pairs = score.sync.matching.pairs if score.sync else np.zeros((0, 2), int)
    for times, matched, edge, tip in ((seen, pairs[:, 0], top, top + LANE // 3), (heard, pairs[:, 1], floor, floor - LANE // 3)):
        for k, time in enumerate(times):
            draw.line([(time * scale, edge), (time * scale, tip)], fill=MATCHED if k in matched else MISSED, width=3)
    for i, j in pairs:
        draw.line([(seen[i] * scale, top + LANE // 3), (heard[j] * scale, floor - LANE // 3)], fill=MATCHED, width=2)


def _draw_agreement(draw: ImageDraw.ImageDraw, agreement: Agreement, chance: Chance | None, scale: float, top: int) -> None:
    """Draw the similarities over time as lines, with dots where they were measured, and dashes at the level of chance."""
    curves = {pair: curve for pair in PAIRS if np.isfinite(curve := agreement.curve(pair)).any()}
    legend = [f"{pair_in_words(pair)} ({_COLOR_NAMES[pair]})" for pair in curves]
    draw.text((4, top + 2), f"agreement ({agreement.binder}): {', '.join(legend) or 'unknown'}", fill=TEXT_COLOR)
    levels = {} if chance is None else {pair: level for pair, level in chance.values.items() if level is not None}
    known = np.array([0.0, *levels.values(), *(value for curve in curves.values() for value in curve if np.isfinite(value))])
    low, high = float(known.min()), max(float(known.max()), float(known.min()) + 0.1)

    def height(value: float) -> float:
        return top + 2 * TEXT + (TRACK - 8) * (high - value) / (high - low)

    draw.text((4, top + TEXT + 2), f"{low:.2f} to {high:.2f}" + ("; chance is dashed" if levels else ""), fill=TEXT_COLOR)
    for pair, level in levels.items():
        for x in range(0, draw.im.size[0], 2 * DASH):
            draw.line([(x, height(level)), (x + DASH, height(level))], fill=PAIR_COLORS[pair])
    for pair, curve in curves.items():
        points = [(each * scale, height(value)) for each, value in zip(agreement.seconds, curve)]
        for before, point in zip([points[0], *points], points):
            if np.isfinite(point[1]):
                draw.line([before if np.isfinite(before[1]) else point, point], fill=PAIR_COLORS[pair], width=2)
                draw.ellipse([point[0] - 3, point[1] - 3, point[0] + 3, point[1] + 3], fill=PAIR_COLORS[pair])
