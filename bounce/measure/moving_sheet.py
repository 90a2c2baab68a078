"""A looping picture of clips side by side: the frames, and below them the spectrogram with a line at the time shown.

python -m duet_av.bounce.measure.moving_sheet FILE… --title TEXT… --out FILE.webp
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from ...av_models.media.read import Clip, read_video
from ...av_models.metrics.sheet import HEARD, draw_spectrogram

TILE, SPECTRUM, TEXT, GAP = 208, 72, 18, 6  # pixels: a frame's side, heights of a spectrogram and of a line, the space between
GROUND, WORDS = (18, 18, 18), (235, 235, 235)


def draw_moving_sheet(clips: Sequence[Clip], titles: Sequence[str]) -> list[Image.Image]:
    """One picture for each frame of the shortest of `clips`, with a title above each clip.

    Raises ValueError where a clip has no sound, or for another number of titles than clips.
    """
    if any(clip.audio is None for clip in clips):
        raise ValueError("a clip has no sound; give videos with sound")
    strips = [draw_spectrogram(clip.audio, TILE, SPECTRUM) for clip in clips]
    return [_draw(clips, titles, strips, i) for i in range(min(len(clip.frames) for clip in clips))]


def _draw(clips: Sequence[Clip], titles: Sequence[str], strips: Sequence[Image.Image], i: int) -> Image.Image:
    sheet = Image.new("RGB", (len(clips) * (TILE + GAP) - GAP, TEXT + TILE + SPECTRUM), GROUND)
    draw = ImageDraw.Draw(sheet)
    for k, (clip, title, strip) in enumerate(zip(clips, titles, strips, strict=True)):
        x = k * (TILE + GAP)
        draw.text((x + 2, 3), title, fill=WORDS)
        sheet.paste(Image.fromarray(_square(clip.frames[i]).numpy()).resize((TILE, TILE), Image.Resampling.NEAREST), (x, TEXT))
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
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.webp")
    args = parser.parse_args(argv)
    clips = [read_video(path) for path in args.files]
    first, *others = draw_moving_sheet(clips, args.title or [path.stem for path in args.files])
    duration = round(1000 / clips[0].fps)  # milliseconds
    first.save(args.out, save_all=True, append_images=others, duration=duration, loop=0, quality=80, method=6)


if __name__ == "__main__":
    main()
