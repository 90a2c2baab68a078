"""A contact sheet: each clip a row of frames, its spectrogram under them on the same time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

SHOWN = 16  # frames of a clip
TILE, SPECTRUM, TEXT = 80, 64, 16  # pixels: a frame's side, a spectrogram's and a line of text's height
LOUDEST, QUIETEST = 0.0, -70.0  # dB
SEEN, HEARD = (255, 210, 60), (90, 220, 255)


def draw_contact_sheet(
    clips: Sequence[tuple[torch.Tensor, torch.Tensor, int]],
    titles: Sequence[str],
    events: Sequence[tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Image.Image:
    """Clips of (frames [F, H, W, 3] in 0..1, waveform [C, samples], sample rate) as one picture.

    `events`: contacts seen and onsets heard of each clip, in seconds, drawn as yellow and blue ticks.
    """
    rows = [_row(*clip, title, events[i] if events else ((), ())) for i, (clip, title) in enumerate(zip(clips, titles))]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for i, row in enumerate(rows):
        sheet.paste(row, (0, i * row.height))
    return sheet


def save_contact_sheet(path: str | Path, *args, **kwargs) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(*args, **kwargs).save(path)


def _row(frames, wave, rate: int, title: str, events) -> Image.Image:
    width = SHOWN * TILE
    row = Image.new("RGB", (width, TEXT + TILE + SPECTRUM + 4), (18, 18, 18))
    draw = ImageDraw.Draw(row)
    draw.text((4, 2), title, fill=(235, 235, 235))
    picked = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    for i, frame in enumerate(np.asarray(frames)[picked]):
        tile = Image.fromarray((frame * 255 + 0.5).astype(np.uint8)).resize((TILE, TILE), Image.Resampling.NEAREST)
        row.paste(tile, (i * TILE, TEXT))
    row.paste(draw_spectrogram(wave, width, SPECTRUM), (0, TEXT + TILE))
    seconds = np.asarray(wave).shape[-1] / rate
    for times, colour, top in ((events[0], SEEN, TEXT + TILE), (events[1], HEARD, TEXT + TILE + SPECTRUM - 12)):
        for t in times:
            x = t / seconds * width
            draw.line([(x, top), (x, top + 12)], fill=colour, width=3)
    return row


def draw_spectrogram(wave, width: int, height: int) -> Image.Image:
    """Level in dB over time and linear frequency; white is loud."""
    mono = torch.as_tensor(np.asarray(wave)).mean(0)
    window = torch.hann_window(512)
    magnitude = torch.stft(mono, 512, 64, window=window, return_complex=True).abs() / (window.sum() / 2)
    level = (20 * magnitude.clamp_min(1e-6).log10() - QUIETEST) / (LOUDEST - QUIETEST)
    grey = (level.clamp(0, 1).flip(0).numpy() * 255).astype(np.uint8)
    return Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")
