"""Small sounding videos with captions."""

from __future__ import annotations

from pathlib import Path

import torch

from duet_av.av_models.media import write_video

FPS, RATE = 16, 16_000


def write_clip(path: Path, seconds: float = 0.5, seed: int = 0, sound: bool = True, fps: float = FPS, caption: str = "") -> Path:
    """A video of noise, 32 pixels wide. caption: the text beside it; "" for none."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(round(seconds * fps), 32, 32, 3, generator=generator)
    wave = torch.rand(1, round(seconds * RATE), generator=generator) - 0.5 if sound else None
    write_video(frames, path, fps=fps, audio=wave, sample_rate=RATE if sound else None)
    if caption:
        path.with_suffix(".txt").write_text(caption)
    return path
