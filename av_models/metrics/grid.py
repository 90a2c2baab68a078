"""Clips side by side: a labelled grid of pictures, sounds brought to one loudness, and a table, as text and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .loudness import measure_loudness

NARROWEST, STRIP, GAP, TEXT = 256, 24, 4, 14  # pixels: a cell's least width, a label's height, between cells, letters
GROUND, WORDS, PLAIN, CHOSEN = (18, 18, 18), (235, 235, 235), (52, 52, 52), (20, 110, 200)


def draw_grid(clips: Sequence[Tensor], labels: Sequence[str], chosen: Sequence[int | None] = (None,)) -> Tensor:
    """Clips [F, H, W, 3] in 0..1, all of one size, in a grid, each under its label.

    Played once for each of `chosen`, the clip whose label is then marked: [len(chosen)·F, H', W', 3]. Small pictures are
    enlarged by a whole number.
    """
    frames, height, width, _ = clips[0].shape
    times = max(1, math.ceil(NARROWEST / width))
    columns = math.ceil(math.sqrt(len(clips)))
    rows = math.ceil(len(clips) / columns)
    tall, wide = height * times + STRIP, width * times
    size = _even(rows * (tall + GAP) - GAP), _even(columns * (wide + GAP) - GAP)
    sheet = (torch.tensor(GROUND) / 255).repeat(len(chosen), frames, *size, 1)
    for index, (clip, label) in enumerate(zip(clips, labels)):
        y, x = index // columns * (tall + GAP), index % columns * (wide + GAP)
        cell = sheet[:, :, y : y + tall, x : x + wide]
        cell[:, :, STRIP:] = clip.repeat_interleave(times, 1).repeat_interleave(times, 2)
        for part, marked in zip(cell, chosen):
            part[:, :STRIP] = _strip(label, wide, index == marked)
    return sheet.flatten(0, 1)


def _strip(label: str, width: int, chosen: bool) -> Tensor:
    strip = Image.new("RGB", (width, STRIP), CHOSEN if chosen else PLAIN)
    ImageDraw.Draw(strip).text((6, (STRIP - TEXT) // 2 - 1), label, fill=WORDS, font=_font(label, width - 12))
    return torch.from_numpy(np.asarray(strip).copy()).float() / 255


def _font(text: str, width: int) -> ImageFont.ImageFont:
    """As large as the text has room for."""
    for size in range(TEXT, 7, -1):
        font = ImageFont.load_default(size)
        if font.getlength(text) <= width:
            return font
    return font


def _even(pixels: int) -> int:
    return pixels + pixels % 2


def match_loudness(waveforms: Sequence[Tensor], sample_rate: int) -> list[Tensor]:
    """Sounds [C, samples] at one loudness (BS.1770): the loudest's, or as near to it as none of them clips."""
    levels = [measure_loudness(wave.float().cpu(), sample_rate) for wave in waveforms]
    audible = [(level, wave) for level, wave in zip(levels, waveforms) if math.isfinite(level)]
    if not audible:
        return list(waveforms)
    reachable = min(level - 20 * math.log10(float(wave.abs().max())) for level, wave in audible)
    target = min(max(level for level, _ in audible), reachable)
    return [wave * 10 ** ((target - level) / 20) if math.isfinite(level) else wave for level, wave in zip(levels, waveforms)]


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned for a fixed-width font, the first to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (head, *rows))
    return "\n".join("  ".join(cells) for cells in aligned)


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> Tensor:
    """The same as a picture [H, W, 3] in 0..1, with lines of text under it."""
    font = ImageFont.load_default(TEXT)
    widths = [24 + max(math.ceil(font.getlength(row[i])) for row in (head, *rows)) for i in range(len(head))]
    width = max(sum(widths), *(24 + math.ceil(font.getlength(note)) for note in notes), 0)
    image = Image.new("RGB", (_even(width), _even((len(rows) + 1 + len(notes)) * STRIP + 12)), GROUND)
    draw = ImageDraw.Draw(image)
    for line, row in enumerate((head, *rows)):
        x = 0
        for column, (cell, w) in enumerate(zip(row, widths)):
            indent = 12 if column == 0 else w - 12 - font.getlength(cell)
            draw.text((x + indent, 6 + line * STRIP), cell, fill=WORDS, font=font)
            x += w
    draw.line([(8, STRIP + 3), (image.width - 8, STRIP + 3)], fill=PLAIN)
    for line, note in enumerate(notes, start=len(rows) + 1):
        draw.text((12, 6 + line * STRIP), note, fill=WORDS, font=font)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255
