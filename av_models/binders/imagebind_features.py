"""ImageBind's preprocessing of images, video and audio (Girdhar et al., arXiv 2305.05665), differentiable."""

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
FRAMES = 2  # per clip
CLIP_SECONDS = 2
VIDEO_CLIPS, AUDIO_CLIPS = 5, 3
RATE = 16_000  # Hz
BINS, COLUMNS = 128, 204  # mel bins, spectrogram columns of 10 ms
AUDIO_MEAN, AUDIO_STD = -4.268, 9.138


def image_features(image: Tensor) -> Tensor:
    """Convert images [B, H, W, 3] in 0..1 to [B, 3, 224, 224]: resize the shorter side (bicubic), crop the centre, normalize."""
    x = _resize_short_side(image.movedim(-1, 1), "bicubic", antialias=True)
    top, left = (round((n - SIDE) / 2) for n in x.shape[-2:])
    return _normalize(x[..., top : top + SIDE, left : left + SIDE])


def video_features(frames: Tensor, fps: float) -> Tensor:
    """Convert frames [B, F, H, W, 3] in 0..1 at `fps` frames per second to [B, clips · 3 crops, 3, 2, 224, 224].

    The video is divided into five evenly spaced clips of two seconds; a shorter video is one clip. The first and the last
    frame of each clip are resized (bilinear) and cropped at three places along the longer side.
    """
    x = torch.stack([frames[:, pair] for pair in clip_frames(frames.shape[1], fps)], 1)  # [B, clips, 2, H, W, 3]
    x = _normalize(_resize_short_side(x.flatten(0, 2).movedim(-1, 1), "bilinear")).unflatten(0, (len(frames), -1, FRAMES))
    return torch.cat([crop.transpose(2, 3) for crop in _three_crops(x)], 1)


def clip_frames(count: int, fps: float) -> list[list[int]]:
    """Return the numbers of the first and the last frame of each clip of a video of `count` frames."""
    ends = [(ceil(fps * start), min(ceil(fps * end), count) - 1) for start, end in clip_times(count / fps, VIDEO_CLIPS)]
    return [[min(first, last), last] for first, last in ends]


def audio_features(waveform: Tensor, sample_rate: int) -> Tensor:
    """Convert waveforms [B, C, samples] at `sample_rate` Hz to [B, clips, 1, 128, 204]: log-mel filter banks of three clips.

    Clips are two seconds long and evenly spaced; shorter audio is one clip. The filter banks are Kaldi's (25 ms Hann windows
    every 10 ms, 128 bins) of the first channel without its mean, zero-padded to 204 columns and normalized.
    """
    wave = resample(waveform, sample_rate, RATE) if sample_rate != RATE else waveform
    clips = []
    for start, end in clip_times(wave.shape[-1] / RATE, AUDIO_CLIPS):
        part = wave[..., int(start * RATE) : int(end * RATE)]
        clips.append(torch.stack([_filter_banks(row) for row in part]))
    return torch.stack(clips, 1)


def clip_times(seconds: float, clips: int) -> list[tuple[Fraction, Fraction]]:
    """Return start and end in seconds of `clips` evenly spaced two-second clips; a recording of up to two seconds is one clip.

    Times are exact fractions, as in pytorchvideo's sampler, because the start frame is rounded up.
    """
    latest = Fraction(max(seconds - CLIP_SECONDS, 0))
    starts = [latest * i / (clips - 1) for i in range(clips)] if latest else [latest]
    return [(start, start + CLIP_SECONDS) for start in starts]


def _filter_banks(waveform: Tensor) -> Tensor:
    """Convert [C, samples] to normalized log-mel filter banks [1, 128, 204]."""
    banks = kaldi.fbank(
        waveform - waveform.mean(), htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
        num_mel_bins=BINS, dither=0.0, frame_length=25, frame_shift=10,
    ).T  # fmt: skip
    fitted = F.pad(banks, (0, COLUMNS - banks.shape[1]))  # negative padding crops
    return (fitted[None] - AUDIO_MEAN) / AUDIO_STD


def _resize_short_side(x: Tensor, mode: str, antialias: bool = False) -> Tensor:
    """Resize [N, 3, H, W] so that the shorter side is 224 pixels."""
    return F.interpolate(x, short_side_size(*x.shape[-2:]), mode=mode, align_corners=False, antialias=antialias)


def short_side_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of an image whose shorter side is resized to 224 pixels."""
    return (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)


def _normalize(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(value, dtype=x.dtype, device=x.device).view(3, 1, 1) for value in (MEAN, STD))
    return (x - mean) / std


def _three_crops(x: Tensor) -> list[Tensor]:
    """Crop [..., H, W] to 224 × 224 at the start, centre and end of the longer side."""
    excess = [n - SIDE for n in x.shape[-2:]]
    centre = [-(-n // 2) for n in excess]
    is_tall = excess[0] > excess[1]
    offsets = (0, centre[0] if is_tall else centre[1], max(excess))
    corners = [(offset, centre[1]) if is_tall else (centre[0], offset) for offset in offsets]
    return [x[..., top : top + SIDE, left : left + SIDE] for top, left in corners]
