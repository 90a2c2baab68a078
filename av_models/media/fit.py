"""Fit frames and a waveform to a clip's frame rate, resolution, sample rate, channels and length."""

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
    """Convert images [N, H, W, C] at `fps` frames per second to a clip's frames [F, height, width, 3] in 0..1.

    Each output frame is the image shown at its time; after the last image, that image is repeated. Images are scaled
    to cover the target size and cropped to the centre.
    Raises ValueError for no images, NaN, or a number of channels other than 1, 3 or 4.
    """
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images have shape {list(images.shape)}; give at least one image as [frames, height, width, 3]")
    images_per_frame = validate_fps(fps) / shape.fps
    indices = [min(int(i * images_per_frame), len(images) - 1) for i in range(shape.frames)]
    rgb = {i: torch.from_numpy(to_rgb8(images[i], i)) for i in sorted(set(indices))}
    stacked = torch.stack([rgb[i] for i in indices])
    return _resize_and_crop(stacked.movedim(-1, 1).float() / 255, shape.height, shape.width).movedim(1, -1)


def _resize_and_crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale [F, 3, H, W] to cover height × width, then crop the centre."""
    h, w = frames.shape[2:]
    scale = max(height / h, width / w)
    size = max(height, round(h * scale)), max(width, round(w * scale))
    if size != (h, w):
        frames = F.interpolate(frames, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return frames[:, :, top : top + height, left : left + width]


def fit_waveform(waveform: Tensor, sample_rate: int, shape: AudioShape) -> Tensor:
    """Convert a waveform [1 or 2, samples] at `sample_rate` Hz to a clip's waveform [channels, samples].

    It is mixed to the clip's channels, resampled, and cut or padded with silence at the end.
    Raises ValueError for a waveform that is empty, has more than 2 channels, or contains NaN or infinity.
    """
    check_audio(waveform, sample_rate)
    combine_couplings = waveform.float() if waveform.shape[0] == shape.channels else waveform.float().mean(0, keepdim=True)
    wave = resample(combine_couplings, int(sample_rate), shape.sample_rate).expand(shape.channels, -1)
    return fit_audio(wave, shape.samples, "pad")


def extend_frames(frames: Tensor, full: VideoShape) -> Tensor:
    """Pad frames [F, H, W, 3] to a longer and larger shape by repeating the last frame and the bottom and right edges."""
    frames = torch.cat([frames, frames[-1:].expand(full.frames - len(frames), -1, -1, -1)])
    bottom, right = full.height - frames.shape[1], full.width - frames.shape[2]
    return F.pad(frames.movedim(-1, 1), (0, right, 0, bottom), mode="replicate").movedim(1, -1)
