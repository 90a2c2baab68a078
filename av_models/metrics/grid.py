"""Compare clips side by side: a labelled grid of frames, loudness matching, and a table as text or as an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .loudness import measure_loudness

MIN_WIDTH, LABEL_HEIGHT, GAP, FONT_SIZE = 256, 24, 4, 14  # pixels; MIN_WIDTH: of a cell, GAP: between cells
BACKGROUND, TEXT_COLOR, LABEL_COLOR, MARKED_COLOR = (18, 18, 18), (235, 235, 235), (52, 52, 52), (20, 110, 200)


def draw_grid(clips: Sequence[Tensor], labels: Sequence[str], marked: Sequence[int | None] = (None,)) -> Tensor:
    """Draw clips [F, H, W, 3] in 0..1, all of one shape, in a grid, each below its label.

    marked: the grid is repeated once per entry, with the label of clip number `entry` highlighted (None: no label).
    Returns frames [len(marked) · F, H', W', 3] in 0..1. Small frames are enlarged by an integer factor.
    """
    layout = _Layout.fit(clips)
    drawn = [layout.draw_labels(labels, mark)[None].repeat(len(clips[0]), 1, 1, 1) for mark in marked]
    for sheet in drawn:
        layout.paste(clips, sheet)
    return torch.cat(drawn)


def iter_grid(
    clips: Sequence[Tensor], labels: Sequence[str], marked: Sequence[int | None] = (None,), max_width: int = 1280
) -> Iterator[Tensor]:
    """Yield the frames [H', W', 3] of `draw_grid` one by one, without holding more than one.

    max_width: wider grids are reduced by an integer factor, to at most about this many pixels.
    """
    factor = math.ceil(math.ceil(math.sqrt(len(clips))) * clips[0].shape[2] / max_width)
    layout = _Layout.fit([_reduce(clip[:1], factor) for clip in clips])
    for mark in marked:
        sheet = layout.draw_labels(labels, mark)
        for frame in range(len(clips[0])):
            drawn = sheet.clone()
            layout.paste([_reduce(clip[frame : frame + 1], factor) for clip in clips], drawn[None])
            yield drawn


def _reduce(frames: Tensor, factor: int) -> Tensor:
    factor = min(factor, *frames.shape[1:3])
    return avg_pool2d(frames.movedim(-1, 1), factor).movedim(1, -1) if factor > 1 else frames


@dataclass(frozen=True)
class _Layout:
    """Where the cells of a grid are, in pixels. Each frame is enlarged by `zoom`."""

    zoom: int
    columns: int
    cell_height: int
    cell_width: int
    height: int
    width: int

    @staticmethod
    def fit(clips: Sequence[Tensor]) -> _Layout:
        """Return the layout of clips [F, H, W, 3] of one shape: as many columns as rows, or one more."""
        _, height, width, _ = clips[0].shape
        zoom = max(1, math.ceil(MIN_WIDTH / width))
        columns = math.ceil(math.sqrt(len(clips)))
        rows = math.ceil(len(clips) / columns)
        cell_height, cell_width = height * zoom + LABEL_HEIGHT, width * zoom
        sides = _even(rows * (cell_height + GAP) - GAP), _even(columns * (cell_width + GAP) - GAP)
        return _Layout(zoom, columns, cell_height, cell_width, *sides)

    def draw_labels(self, labels: Sequence[str], marked: int | None) -> Tensor:
        """Draw a grid [H', W', 3] with labels and empty cells."""
        sheet = (torch.tensor(BACKGROUND) / 255).repeat(self.height, self.width, 1)
        for index, label in enumerate(labels):
            self._cell(sheet, index)[:LABEL_HEIGHT] = _draw_label(label, self.cell_width, index == marked)
        return sheet

    def paste(self, clips: Sequence[Tensor], sheet: Tensor) -> None:
        """Paste clips [F, H, W, 3] into the cells of `sheet` [F, H', W', 3]."""
        for index, clip in enumerate(clips):
            enlarged = clip.repeat_interleave(self.zoom, 1).repeat_interleave(self.zoom, 2)
            self._cell(sheet, index)[:, LABEL_HEIGHT:] = enlarged

    def _cell(self, sheet: Tensor, index: int) -> Tensor:
        y, x = index // self.columns * (self.cell_height + GAP), index % self.columns * (self.cell_width + GAP)
        return sheet[..., y : y + self.cell_height, x : x + self.cell_width, :]


def _draw_label(label: str, width: int, marked: bool) -> Tensor:
    image = Image.new("RGB", (width, LABEL_HEIGHT), MARKED_COLOR if marked else LABEL_COLOR)
    ImageDraw.Draw(image).text((6, (LABEL_HEIGHT - FONT_SIZE) // 2 - 1), label, fill=TEXT_COLOR, font=_font(label, width - 12))
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


def _font(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font up to FONT_SIZE in which `text` fits into `width` pixels."""
    for size in range(FONT_SIZE, 7, -1):
        font = ImageFont.load_default(size)
        if font.getlength(text) <= width:
            return font
    return font


def _even(pixels: int) -> int:
    return pixels + pixels % 2


def match_loudness(waveforms: Sequence[Tensor], sample_rate: int) -> list[Tensor]:
    """Scale waveforms [C, samples] to equal loudness (ITU-R BS.1770).

    The target is the loudness of the loudest one, or the highest level at which none clips. Silence is left unchanged.
    """
    levels = [measure_loudness(wave.float().cpu(), sample_rate) for wave in waveforms]
    audible = [(level, wave) for level, wave in zip(levels, waveforms) if math.isfinite(level)]
    if not audible:
        return list(waveforms)
    reachable = min(level - 20 * math.log10(float(wave.abs().max())) for level, wave in audible)
    target = min(max(level for level, _ in audible), reachable)
    return [wave * 10 ** ((target - level) / 20) if math.isfinite(level) else wave for level, wave in zip(levels, waveforms)]


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a text table for a fixed-width font: the first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (head, *rows))
    return "\n".join("  ".join(cells) for cells in aligned)


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> Tensor:
    """Draw a table, with `notes` as lines of text below it, as an image [H, W, 3] in 0..1."""
    font = ImageFont.load_default(FONT_SIZE)
    widths = [24 + max(math.ceil(font.getlength(row[i])) for row in (head, *rows)) for i in range(len(head))]
    width = max(sum(widths), *(24 + math.ceil(font.getlength(note)) for note in notes), 0)
    image = Image.new("RGB", (_even(width), _even((len(rows) + 1 + len(notes)) * LABEL_HEIGHT + 12)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for line, row in enumerate((head, *rows)):
        x = 0
        for column, (cell, w) in enumerate(zip(row, widths)):
            indent = 12 if column == 0 else w - 12 - font.getlength(cell)
            draw.text((x + indent, 6 + line * LABEL_HEIGHT), cell, fill=TEXT_COLOR, font=font)
            x += w
    draw.line([(8, LABEL_HEIGHT + 3), (image.width - 8, LABEL_HEIGHT + 3)], fill=LABEL_COLOR)
    for line, note in enumerate(notes, start=len(rows) + 1):
        draw.text((12, 6 + line * LABEL_HEIGHT), note, fill=TEXT_COLOR, font=font)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255
