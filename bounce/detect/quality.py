"""How well a codec keeps a picture and a sound."""

from __future__ import annotations

import numpy as np

from .balls import COLOURED

N_FFT, HOP = 512, 125  # samples
FLOOR_DB = -60.0  # below the level of a full-scale sinusoid
AROUND_BALL = 1  # pixels by which the ball is grown, so that its edge counts


def psnr(picture, true) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0..1 of one shape; infinite where they are equal."""
    picture, true = np.asarray(picture, np.float32), np.asarray(true, np.float32)
    if picture.shape != true.shape:
        raise ValueError(f"the pictures differ in shape: {picture.shape} and {true.shape}")
    return decibels(float(np.mean((picture - true) ** 2, dtype=np.float64)))


def ball_errors(picture, true) -> tuple[float, int]:
    """Sum of squared errors on the pixels of `true`'s coloured balls, and how many values that is."""
    picture, true = np.asarray(picture, np.float32), np.asarray(true, np.float32)
    mask = ball_mask(true)
    return float(np.square(picture[mask] - true[mask], dtype=np.float64).sum()), 3 * int(mask.sum())


def ball_mask(frames: np.ndarray) -> np.ndarray:
    """Pixels of [F, H, W, 3] that are coloured or, as a metal ball's shine, white, grown by a pixel, [F, H, W]."""
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
    return float("inf") if mean_squared_error == 0 else -10 * float(np.log10(mean_squared_error))


def log_spectral_distance(wave, true) -> float:
    """Distance in dB between two waveforms [channels, samples] or [samples] in −1..1.

    Levels are 20·log10 of the STFT's magnitude (Hann, n_fft 512, hop 125), 0 dB a full-scale sinusoid's, clipped at
    −60 dB; the distance is the root mean square over bins, averaged over frames and channels.
    """
    wave, true = (np.atleast_2d(np.asarray(w, np.float32)) for w in (wave, true))
    if wave.shape != true.shape:
        raise ValueError(f"the waveforms differ in shape: {wave.shape} and {true.shape}")
    difference = _levels(wave) - _levels(true)
    return float(np.sqrt(np.mean(difference**2, axis=-1)).mean())


def _levels(wave: np.ndarray) -> np.ndarray:
    """[channels, samples] to dB below full scale, [channels, T, bins]."""
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    padded = np.pad(wave, ((0, 0), (N_FFT // 2, N_FFT // 2)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP] * window
    magnitude = np.abs(np.fft.rfft(pieces, axis=-1)) / (window.sum() / 2)
    return 20 * np.log10(np.maximum(magnitude, 10 ** (FLOOR_DB / 20)))


def _shifted(mask: np.ndarray, step: int, axis: int) -> np.ndarray:
    """`mask` moved by `step` pixels, what leaves the picture is gone."""
    out = np.zeros_like(mask)
    to, of = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
    to[axis], of[axis] = (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
    out[tuple(to)] = mask[tuple(of)]
    return out
