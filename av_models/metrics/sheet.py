"""Contact sheets: one row of frames per clip, with the spectrogram below on the same time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import adaptive_avg_pool2d, pad

FRAMES = 16  # shown per clip
TILE, SPECTROGRAM_HEIGHT, TEXT_HEIGHT = 80, 64, 16  # pixels; TILE: side of a frame
LOUDEST, QUIETEST = 0.0, -70.0  # dB
SEEN, HEARD = (255, 210, 60), (90, 220, 255)  # RGB
Times = Sequence[float]


def draw_contact_sheet(
    clips: Sequence[tuple[torch.Tensor, torch.Tensor, int]],
    titles: Sequence[str],
    events: Sequence[tuple[Times, Times]] | None = None,
) -> Image.Image:
    """Draw clips, given as (frames [F, H, W, 3] in 0..1, waveform [C, samples], sample rate in Hz), one per row.

    titles: one per clip. events: times of video and audio events of each clip in seconds, drawn as yellow and blue ticks.
    """
    rows = [_draw_row(*clip, title, events[i] if events else ((), ())) for i, (clip, title) in enumerate(zip(clips, titles))]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for i, row in enumerate(rows):
        sheet.paste(row, (0, i * row.height))
    return sheet


def save_contact_sheet(
    path: str | Path,
    clips: Sequence[tuple[torch.Tensor, torch.Tensor, int]],
    titles: Sequence[str],
    events: Sequence[tuple[Times, Times]] | None = None,
) -> None:
    """Write the sheet of `draw_contact_sheet` to an image file; create missing folders."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(clips, titles, events).save(path)


def shrink_frames(frames: torch.Tensor) -> torch.Tensor:
    """Return the frames of [F, H, W, 3] that a sheet shows, reduced to its size, with black borders: [FRAMES, side, side, 3]."""
    shown = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)].movedim(-1, 1)
    height, width = shown.shape[2:]
    scale = min(1.0, TILE / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    small = adaptive_avg_pool2d(shown, (height, width)) if scale < 1 else shown
    down, right = max(width - height, 0), max(height - width, 0)
    return pad(small, (right // 2, right - right // 2, down // 2, down - down // 2)).movedim(1, -1)


def _draw_row(frames: torch.Tensor, wave: torch.Tensor, rate: int, title: str, events: tuple[Times, Times]) -> Image.Image:
    width = FRAMES * TILE
    row = Image.new("RGB", (width, TEXT_HEIGHT + TILE + SPECTROGRAM_HEIGHT + 4), (18, 18, 18))
    draw = ImageDraw.Draw(row)
    draw.text((4, 2), title, fill=(235, 235, 235))
    picked = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    for i, frame in enumerate(np.asarray(frames)[picked]):
        tile = Image.fromarray((frame * 255 + 0.5).astype(np.uint8)).resize((TILE, TILE), Image.Resampling.NEAREST)
        row.paste(tile, (i * TILE, TEXT_HEIGHT))
    row.paste(draw_spectrogram(wave, width, SPECTROGRAM_HEIGHT), (0, TEXT_HEIGHT + TILE))
    seconds = np.asarray(wave).shape[-1] / rate
    top = TEXT_HEIGHT + TILE
    for times, color, top in ((events[0], SEEN, top), (events[1], HEARD, top + SPECTROGRAM_HEIGHT - 12)):
        for t in times:
            x = t / seconds * width
            draw.line([(x, top), (x, top + 12)], fill=color, width=3)
    return row


def draw_spectrogram(wave: torch.Tensor, width: int, height: int) -> Image.Image:
    """Draw the level in dB of a waveform [C, samples] over time and linear frequency, `width` × `height` pixels; white is loud."""
    mono = torch.as_tensor(np.asarray(wave)).mean(0)
    window = torch.hann_window(512)
    magnitude = torch.stft(mono, 512, 64, window=window, return_complex=True).abs() / (window.sum() / 2)
    level = (20 * magnitude.clamp_min(1e-6).log10() - QUIETEST) / (LOUDEST - QUIETEST)
    grey = (level.clamp(0, 1).flip(0).numpy() * 255).astype(np.uint8)
    return Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")
