"""A looping picture of clips side by side: the frames, and below them the spectrogram with a line at the time shown.

python -m duet_av.bounce.measure.moving_sheet FILE… --title TEXT… --out FILE.webp

With --card: a square picture for ComfyUI's template browser. Its top is empty, because the browser puts a label there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from ...av_models.media.read import Clip, read_video
from ...av_models.metrics.sheet import HEARD, draw_spectrogram

TILE, SPECTRUM, TEXT, GAP = 208, 72, 18, 6  # pixels: a frame's side, heights of a spectrogram and of a line, the space between
CARD, LABEL = 360, 58  # pixels: a card's side, and what of its top stays empty
GROUND, WORDS = (18, 18, 18), (235, 235, 235)


def draw_moving_sheet(clips: Sequence[Clip], titles: Sequence[str]) -> list[Image.Image]:
    """One picture for each frame of the shortest of `clips`, with a title above each clip.

    Raises ValueError where a clip has no sound, or for another number of titles than clips.
    """
    _check(clips)
    strips = [draw_spectrogram(clip.audio, TILE, SPECTRUM) for clip in clips]
    return [_draw(clips, titles, strips, i) for i in range(_length(clips))]


def draw_card(clips: Sequence[Clip], titles: Sequence[str]) -> list[Image.Image]:
    """The same as a square, in rows. titles: one for each clip, or none.

    Raises ValueError where a clip has no sound, or for another number of titles than clips.
    """
    _check(clips)
    columns = math.ceil(math.sqrt(len(clips)))
    cell = (CARD // columns, (CARD - LABEL) // math.ceil(len(clips) / columns))
    cells = [_draw_cell(clip, title, cell) for clip, title in zip(clips, titles or [""] * len(clips), strict=True)]
    return [_draw_card(cells, columns, cell, i) for i in range(_length(clips))]


def _draw_card(cells: Sequence[list[Image.Image]], columns: int, size: tuple[int, int], i: int) -> Image.Image:
    card = Image.new("RGB", (CARD, CARD), GROUND)
    for k, frames in enumerate(cells):
        card.paste(frames[i], (k % columns * size[0], LABEL + k // columns * size[1]))
    return card


def _draw_cell(clip: Clip, title: str, size: tuple[int, int]) -> list[Image.Image]:
    """One picture of `size` for each frame: the title, if there is one, the frame, and the spectrogram with the time shown."""
    width, height = size[0] - GAP, size[1] - GAP
    top, strip = TEXT if title else 0, draw_spectrogram(clip.audio, width, height // 4)
    side = min(width, height - top - strip.height)
    pictures = []
    for i, frame in enumerate(clip.frames):
        picture = Image.new("RGB", size, GROUND)
        draw = ImageDraw.Draw(picture)
        draw.text((GAP, 3), title, fill=WORDS)
        picture.paste(_enlarge(frame, side), ((size[0] - side) // 2, top))
        picture.paste(strip, (GAP // 2, top + side))
        at = GAP // 2 + round((i + 0.5) / len(clip.frames) * width)
        draw.line([(at, top + side), (at, top + side + strip.height)], fill=HEARD, width=2)
        pictures.append(picture)
    return pictures


def _check(clips: Sequence[Clip]) -> None:
    if any(clip.audio is None for clip in clips):
        raise ValueError("a clip has no sound; give videos with sound")


def _length(clips: Sequence[Clip]) -> int:
    return min(len(clip.frames) for clip in clips)


def _enlarge(frame: torch.Tensor, side: int) -> Image.Image:
    return Image.fromarray(_square(frame).numpy()).resize((side, side), Image.Resampling.NEAREST)


def _draw(clips: Sequence[Clip], titles: Sequence[str], strips: Sequence[Image.Image], i: int) -> Image.Image:
    sheet = Image.new("RGB", (len(clips) * (TILE + GAP) - GAP, TEXT + TILE + SPECTRUM), GROUND)
    draw = ImageDraw.Draw(sheet)
    for k, (clip, title, strip) in enumerate(zip(clips, titles, strips, strict=True)):
        x = k * (TILE + GAP)
        draw.text((x + 2, 3), title, fill=WORDS)
        sheet.paste(_enlarge(clip.frames[i], TILE), (x, TEXT))
        sheet.paste(strip, (x, TEXT + TILE))
        at = x + round((i + 0.5) / len(clip.frames) * TILE)
        draw.line([(at, TEXT + TILE), (at, sheet.height)], fill=HEARD, width=2)
    return sheet


def _square(frame: torch.Tensor) -> torch.Tensor:
    """The middle of a frame [H, W, 3], as wide as it is high."""
    side = min(frame.shape[:2])
    top, left = ((size - side) // 2 for size in frame.shape[:2])
    return frame[top : top + side, left : left + side]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="videos with sound, of one frame rate")
    parser.add_argument("--title", nargs="+", default=[], metavar="TEXT", help="a line above each; default: the files' names")
    parser.add_argument("--card", action="store_true", help="a square for the template browser")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="an animated WebP, whatever the name")
    args = parser.parse_args(argv)
    clips = [read_video(path) for path in args.files]
    if args.card:
        first, *others = draw_card(clips, args.title)
    else:
        first, *others = draw_moving_sheet(clips, args.title or [path.stem for path in args.files])
    duration = round(1000 / clips[0].fps)  # milliseconds
    first.save(args.out, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, quality=80, method=6)


if __name__ == "__main__":
    main()
