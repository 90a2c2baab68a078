"""What ImageBind sees and hears: its own pre-processing (Girdhar et al., arXiv 2305.05665), made differentiable."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.compliance import kaldi
from torchaudio.functional import resample

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIDE = 224  # pixels
FRAMES = 2  # a clip
CLIP_SECONDS = 2
VIDEO_CLIPS, AUDIO_CLIPS = 5, 3
RATE = 16_000  # Hz
BINS, COLUMNS = 128, 204
AUDIO_MEAN, AUDIO_STD = -4.268, 9.138


def image_features(image: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] in 0..1 to [B, 3, 224, 224]: shorter side scaled (bicubic), centre cut, normed."""
    x = _short_side(image.movedim(-1, 1), "bicubic", antialias=True)
    top, left = (round((n - SIDE) / 2) for n in x.shape[-2:])
    return _normed(x[..., top : top + SIDE, left : left + SIDE])


def video_features(frames: Tensor, fps: float) -> Tensor:
    """Frames [B, F, H, W, 3] in 0..1 to [B, clips · 3 crops, 3, 2, 224, 224].

    Five clips of two seconds spread evenly, of each its first and last frame, scaled (bilinear) and cut at three places
    along the longer side. A video shorter than a clip is one clip.
    """
    clips = []
    for start, end in clip_times(frames.shape[1] / fps, VIDEO_CLIPS):
        last = min(ceil(fps * end), frames.shape[1]) - 1
        clips.append(frames[:, [min(ceil(fps * start), last), last]])
    x = torch.stack(clips, 1)  # [B, clips, 2, H, W, 3]
    x = _normed(_short_side(x.flatten(0, 2).movedim(-1, 1), "bilinear")).unflatten(0, (len(frames), -1, FRAMES))
    return torch.cat([crop.transpose(2, 3) for crop in _three_crops(x)], 1)


def audio_features(waveform: Tensor, sample_rate: int) -> Tensor:
    """Waveforms [B, C, samples] to [B, clips, 1, 128, 204]: mel filter banks of three clips of two seconds.

    As Kaldi makes them (25 ms Hann windows every 10 ms, 128 bins), of the first channel, the mean taken off, padded with
    zeros to 204 columns, normed.
    """
    heard = resample(waveform, sample_rate, RATE) if sample_rate != RATE else waveform
    clips = []
    for start, end in clip_times(heard.shape[-1] / RATE, AUDIO_CLIPS):
        part = heard[..., int(start * RATE) : int(end * RATE)]
        clips.append(torch.stack([_filter_banks(row) for row in part]))
    return torch.stack(clips, 1)


def clip_times(seconds: float, clips: int) -> list[tuple[Fraction, Fraction]]:
    """Begin and end of `clips` clips of two seconds, spread evenly over a recording; one that is shorter is one clip.

    Exact, as pytorchvideo's sampler has them: the frame in which a clip begins is rounded up.
    """
    latest = Fraction(max(seconds - CLIP_SECONDS, 0))
    starts = [latest * i / (clips - 1) for i in range(clips)] if latest else [latest]
    return [(start, start + CLIP_SECONDS) for start in starts]


def _filter_banks(waveform: Tensor) -> Tensor:
    """[C, samples] to [1, 128, 204]."""
    banks = kaldi.fbank(
        waveform - waveform.mean(), htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
        num_mel_bins=BINS, dither=0.0, frame_length=25, frame_shift=10,
    ).T  # fmt: skip
    fitted = F.pad(banks, (0, COLUMNS - banks.shape[1]))  # a negative padding cuts
    return (fitted[None] - AUDIO_MEAN) / AUDIO_STD


def _short_side(x: Tensor, mode: str, antialias: bool = False) -> Tensor:
    """[N, 3, H, W] with the shorter side 224."""
    height, width = x.shape[-2:]
    size = (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)
    return F.interpolate(x, size, mode=mode, align_corners=False, antialias=antialias)


def _normed(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(value, dtype=x.dtype, device=x.device).view(3, 1, 1) for value in (MEAN, STD))
    return (x - mean) / std


def _three_crops(x: Tensor) -> list[Tensor]:
    """[..., H, W] at three places along the longer side."""
    spare = [n - SIDE for n in x.shape[-2:]]
    middle = [-(-n // 2) for n in spare]
    tall = spare[0] > spare[1]
    along = (0, middle[0] if tall else middle[1], max(spare))
    corners = [(a, middle[1]) if tall else (middle[0], a) for a in along]
    return [x[..., top : top + SIDE, left : left + SIDE] for top, left in corners]
