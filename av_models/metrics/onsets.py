"""Onset detection: the times of sudden level rises in many frequency bands at once, such as impacts.

The detection function is the log spectral flux with a maximum filter over neighbouring bands (Böck & Widmer 2013,
"SuperFlux"). An impact's click also raises bands in which a ringing tail is silent, so a second impact of the same pitch is
detected too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

WINDOW, HOP = 0.016, 0.002  # seconds
LAG = 0.014  # seconds over which the rise is measured
BANDS, LOWEST_HZ, HIGHEST_HZ = 24, 60.0, 8000.0
FLOOR_DB, RANGE_DB = -70.0, 50.0  # dBFS, and dB below the loudest level: lower levels count as silence
LARGEST_RISE_DB = 24.0
THRESHOLD_DB, TIMES_AROUND = 4.0, 2.0  # a peak's minimum mean rise over bands, absolute and relative to the local mean
GAP, AROUND = 0.06, 0.25  # seconds: minimum distance of two onsets; reach of the local mean
BATCH = 512  # windows transformed at a time
LEAD = LAG + 2 * HOP  # seconds of silence before the clip, so that an onset at its start is a rise too
DELAY = -0.006  # seconds from the peak of the flux to the onset


def detect_onsets(waveform: ArrayLike, sample_rate: int) -> np.ndarray:
    """Return the onset times [N] in seconds, sorted, of a waveform [channels, samples] or [samples] in −1..1."""
    rise, times = spectral_flux(waveform, sample_rate)
    if not len(rise):
        return np.zeros(0)
    around = _mean_around(rise, round(AROUND / HOP))
    level = np.maximum(THRESHOLD_DB, TIMES_AROUND * around)
    peaks = np.flatnonzero((rise >= level) & (rise >= _max_around(rise, round(GAP / HOP))))
    onsets = [p for k, p in enumerate(peaks) if k == 0 or p - peaks[k - 1] > round(GAP / HOP)]  # one of equal neighbours
    return np.maximum(times[onsets] - DELAY, 0.0)


def spectral_flux(waveform: ArrayLike, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean rise over bands in dB, [T], and the time of each value in seconds, [T].

    Raises ValueError for a waveform with more than two dimensions or a sample rate that is not positive.
    """
    wave = np.asarray(waveform, np.float32)
    if wave.ndim == 2:
        wave = wave.mean(0)
    if wave.ndim != 1 or sample_rate <= 0:
        raise ValueError(
            f"waveform has shape {list(wave.shape)} at {sample_rate} Hz; give [channels, samples] at a positive sample rate"
        )
    levels = band_levels(wave, sample_rate)
    lag = round(LAG / HOP)
    before = np.pad(levels[:-lag], ((0, 0), (1, 1)), mode="edge")
    before = np.maximum(np.maximum(before[:, :-2], before[:, 1:-1]), before[:, 2:])
    rise = np.clip(levels[lag:] - before, 0, LARGEST_RISE_DB).mean(1)
    return rise, (np.arange(len(rise)) + lag / 2) * HOP - LEAD


def band_levels(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the levels in dB of a mono waveform [samples] in logarithmically spaced bands, [T, BANDS], one row per HOP.

    The first window is centred LEAD seconds before the clip. The last one ends with the clip: zeros after a cut-off tail
    would look like a click.
    """
    window = max(round(WINDOW * sample_rate), 8)
    padded = np.pad(wave, (round(LEAD * sample_rate) + window // 2, 0))
    last = len(padded) - window
    if last < 0:
        return np.full((1, BANDS), FLOOR_DB)
    starts = np.round(np.arange(0, last / sample_rate, HOP) * sample_rate).astype(int)
    hann = np.hanning(window + 2)[1:-1].astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)
    edges = _edges(window, sample_rate)
    batches = (starts[at : at + BATCH] for at in range(0, len(starts), BATCH))
    bands = np.concatenate([_band_powers(pieces[batch] * hann, hann, edges) for batch in batches])
    decibels = 10 * np.log10(np.maximum(bands, 10 ** (FLOOR_DB / 10)))
    return np.maximum(decibels, decibels.max() - RANGE_DB)


def _band_powers(pieces: np.ndarray, hann: np.ndarray, edges: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2 / (hann.sum() / 2) ** 2
    return np.add.reduceat(power, edges[:-1], axis=1)[:, : len(edges) - 1]


def _edges(window: int, sample_rate: int) -> np.ndarray:
    """Return the FFT bins at the band edges, increasing. Bands narrower than a bin are merged."""
    highest = min(HIGHEST_HZ, sample_rate / 2)
    hertz = np.geomspace(LOWEST_HZ, highest, BANDS + 1)
    return np.unique(np.clip(np.round(hertz * window / sample_rate).astype(int), 0, window // 2))


def _windows(values: np.ndarray, reach: int, fill: float) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, constant_values=fill), 2 * reach + 1)


def _max_around(values: np.ndarray, reach: int) -> np.ndarray:
    return _windows(values, reach, -np.inf).max(1)


def _mean_around(values: np.ndarray, reach: int) -> np.ndarray:
    return _windows(values, reach, 0.0).mean(1)
