"""Previews of a joined run: ComfyUI's picture of the video, and under it the latent of the audio.

A column of the lower picture is a step of time, a row a channel. It is no spectrogram: the channels of a latent have no order.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from .streams import JoinedStreams

PREVIEWER, INNER, METHOD = "previewer", "packed_callback", "decode_latent_to_preview_image"  # ComfyUI's names, in its callbacks
SHARE = 4  # the width of a preview is so many times the height of the audio's part
DARK, BRIGHT = (18, 18, 18), (255, 176, 84)
LARGE = 3.0  # standard deviations that are painted brightest


class AudioBelow:
    """One of ComfyUI's previewers, with the audio under its picture. audio: the clean estimate of the step, [C, ...]."""

    def __init__(self, previewer: Any) -> None:
        self.previewer = previewer
        self.audio: Tensor | None = None

    def decode_latent_to_preview_image(self, preview_format: str, x0: Tensor) -> Any:
        """Returns what ComfyUI's previewer does: the format, a picture, and the size to which ComfyUI scales it."""
        made = self.previewer.decode_latent_to_preview_image(preview_format, x0)
        if made is None or self.audio is None:
            return made
        kind, picture, size = made
        return kind, stack(picture, paint_audio(self.audio), size), size


def with_audio(callback: Callable | None, streams: JoinedStreams) -> Callable | None:
    """Returns the callback of a run with the audio in its previews; one without previews, or not of ComfyUI, as it is."""
    found: list[AudioBelow] = []
    shown = _with_previewers(callback, found)
    if not found:
        return callback

    def show(step: int, x0: Any, x: Any, total_steps: int) -> Any:
        audio = streams.split(x0)[1][0]
        for previewer in found:
            previewer.audio = audio
        return shown(step, x0, x, total_steps)

    return show


def paint_audio(latent: Tensor) -> Image.Image:
    """Paints a latent [C, ..., L]: a pixel is brighter the further its value is from 0."""
    values = latent.float().flatten(0, -2)
    light = (values.abs() / (LARGE * values.std()).clamp(min=1e-6)).nan_to_num().clamp(0, 1)[..., None]
    dark, bright = torch.tensor(DARK, device=light.device), torch.tensor(BRIGHT, device=light.device)
    return Image.fromarray((dark + light * (bright - dark)).byte().cpu().numpy())


def stack(picture: Image.Image, audio: Image.Image, size: int) -> Image.Image:
    """Returns a picture in the largest size that is shown, and the audio under it."""
    scaled = ImageOps.contain(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    strip = audio.resize((scaled.width, max(1, scaled.width // SHARE)), Image.Resampling.BOX)
    both = Image.new("RGB", (scaled.width, scaled.height + strip.height))
    both.paste(scaled, (0, 0))
    both.paste(strip, (0, scaled.height))
    return both


def _with_previewers(callback: Any, found: list[AudioBelow]) -> Any:
    """Returns a copy of a callback of ComfyUI with `AudioBelow` in place of its previewer, or of that of the callback in it."""
    if not isinstance(callback, FunctionType) or callback.__closure__ is None:
        return callback
    cells = []
    for name, cell in zip(callback.__code__.co_freevars, callback.__closure__):
        if name == PREVIEWER and hasattr(cell.cell_contents, METHOD):
            found.append(AudioBelow(cell.cell_contents))
            cell = CellType(found[-1])
        elif name == INNER:
            cell = CellType(_with_previewers(cell.cell_contents, found))
        cells.append(cell)
    return FunctionType(callback.__code__, callback.__globals__, callback.__name__, callback.__defaults__, tuple(cells))
