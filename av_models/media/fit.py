"""A user's pictures and sound made to fit a clip: its times, its size, its rate and channels."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shapes import AudioShape, VideoShape
from .audio import check_audio, fit_audio, resample
from .frames import to_rgb8
from .settings import validate_fps


def fit_frames(images: Tensor, fps: float | Fraction, shape: VideoShape) -> Tensor:
    """Pictures [N, H, W, C] at `fps` as the frames [F, height, width, 3] of a clip, 0..1.

    Each frame is the picture shown at its time, the last one from the end on. The size is scaled to cover, the rest cut
    off on both sides alike. Raises ValueError for no pictures, NaN, or a number of channels that is not 1, 3 or 4.
    """
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images have shape {list(images.shape)}; give at least one picture [frames, height, width, 3]")
    pictures_a_frame = validate_fps(fps) / shape.fps
    at = [min(int(i * pictures_a_frame), len(images) - 1) for i in range(shape.frames)]
    rgb = {i: torch.from_numpy(to_rgb8(images[i], i)) for i in sorted(set(at))}
    return _cover(torch.stack([rgb[i] for i in at]).movedim(-1, 1).float() / 255, shape.height, shape.width).movedim(1, -1)


def _cover(frames: Tensor, height: int, width: int) -> Tensor:
    """[F, 3, H, W] scaled and cut to height × width."""
    h, w = frames.shape[2:]
    scale = max(height / h, width / w)
    size = max(height, round(h * scale)), max(width, round(w * scale))
    if size != (h, w):
        frames = F.interpolate(frames, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return frames[:, :, top : top + height, left : left + width]


def fit_waveform(waveform: Tensor, sample_rate: int, shape: AudioShape) -> Tensor:
    """A waveform [1 or 2, samples] as the sound [channels, samples] of a clip: mixed, resampled, cut or padded.

    Raises ValueError for a sound that is empty, not finite, or of more channels.
    """
    check_audio(waveform, sample_rate)
    mixed = waveform.float() if waveform.shape[0] == shape.channels else waveform.float().mean(0, keepdim=True)
    sound = resample(mixed, int(sample_rate), shape.sample_rate).expand(shape.channels, -1)
    return fit_audio(sound, shape.samples, "pad")


def extend_frames(frames: Tensor, full: VideoShape) -> Tensor:
    """Frames [F, height, width, 3] up to a longer and larger shape, the last of them and its edges repeated."""
    frames = torch.cat([frames, frames[-1:].expand(full.frames - len(frames), -1, -1, -1)])
    below, right = full.height - frames.shape[1], full.width - frames.shape[2]
    return F.pad(frames.movedim(-1, 1), (0, right, 0, below), mode="replicate").movedim(1, -1)
