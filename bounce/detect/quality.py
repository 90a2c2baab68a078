"""Reconstruction metrics for video and audio codecs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .balls import COLOURED

N_FFT, HOP = 512, 125  # samples
FLOOR_DB = -60.0  # relative to a full-scale sinusoid
AROUND_BALL = 1  # pixels by which ball masks are dilated, to include the edge


def psnr(picture: np.ndarray | Tensor, true: np.ndarray | Tensor) -> float:
    """Computes the peak signal-to-noise ratio in dB of images or videos in 0..1; infinite if they are equal.

    Raises ValueError if the shapes differ.
    """
    picture, true = np.asarray(picture, np.float32), np.asarray(true, np.float32)
    if picture.shape != true.shape:
        raise ValueError(f"the images differ in shape: {picture.shape} and {true.shape}; use equal shapes")
    return decibels(float(np.mean((picture - true) ** 2, dtype=np.float64)))


def ball_errors(picture: np.ndarray | Tensor, true: np.ndarray | Tensor) -> tuple[float, int]:
    """Returns the sum of squared errors on the ball pixels of `true` [F, H, W, 3], and the number of values in it."""
    picture, true = np.asarray(picture, np.float32), np.asarray(true, np.float32)
    mask = ball_mask(true)
    return float(np.square(picture[mask] - true[mask], dtype=np.float64).sum()), 3 * int(mask.sum())


def ball_mask(frames: np.ndarray) -> np.ndarray:
    """Returns the mask [F, H, W] of coloured pixels and white highlights of `frames` [F, H, W, 3], dilated by one pixel."""
    coloured = frames.max(-1) - frames.min(-1) > COLOURED
    shine = (frames.mean(-1) > 0.75) & ~coloured
    mask = coloured | shine
    for axis in (1, 2):
        grown = mask.copy()
        for step in range(1, AROUND_BALL + 1):
            grown |= _shifted(mask, step, axis) | _shifted(mask, -step, axis)
        mask = grown
    return mask


def decibels(mean_squared_error: float) -> float:
    """Converts a mean squared error of values in 0..1 to a PSNR in dB."""
    return float("inf") if mean_squared_error == 0 else -10 * float(np.log10(mean_squared_error))


def log_spectral_distance(wave: np.ndarray | Tensor, true: np.ndarray | Tensor) -> float:
    """Computes the log-spectral distance in dB of two waveforms [channels, samples] or [samples] in −1..1.

    Levels are 20·log10 of the STFT magnitude (Hann window, n_fft 512, hop 125), relative to a full-scale sinusoid and
    clipped at −60 dB. The distance is the root mean square over bins, averaged over frames and channels.
    Raises ValueError if the shapes differ.
    """
    wave, true = (np.atleast_2d(np.asarray(w, np.float32)) for w in (wave, true))
    if wave.shape != true.shape:
        raise ValueError(f"the waveforms differ in shape: {wave.shape} and {true.shape}; use equal shapes")
    difference = _levels(wave) - _levels(true)
    return float(np.sqrt(np.mean(difference**2, axis=-1)).mean())


def _levels(wave: np.ndarray) -> np.ndarray:
    """Converts [channels, samples] to levels in dB relative to full scale, [channels, T, bins]."""
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    padded = np.pad(wave, ((0, 0), (N_FFT // 2, N_FFT // 2)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP] * window
    magnitude = np.abs(np.fft.rfft(pieces, axis=-1)) / (window.sum() / 2)
    return 20 * np.log10(np.maximum(magnitude, 10 ** (FLOOR_DB / 20)))


def _shifted(mask: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Shifts `mask` by `step` pixels along `axis`, without wrap-around."""
    out = np.zeros_like(mask)
    to, of = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
    to[axis], of[axis] = (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
    out[tuple(to)] = mask[tuple(of)]
    return out
