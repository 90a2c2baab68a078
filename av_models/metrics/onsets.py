"""When something is struck, from its sound alone: a sudden rise in many bands at once.

Band-wise log spectral flux with a maximum filter over neighbouring bands (Böck & Widmer 2013, "SuperFlux"): a strike's
click rises in bands where a ringing tail is silent, so a second strike of the same pitch is found too.
"""

from __future__ import annotations

import numpy as np

WINDOW, HOP = 0.016, 0.002  # seconds
LAG = 0.014  # the rise is taken over this long
BANDS, LOWEST_HZ, HIGHEST_HZ = 24, 60.0, 8000.0
FLOOR_DB, RANGE_DB = -70.0, 50.0  # levels below full scale, or this far below the loudest, are silence
LARGEST_RISE_DB = 24.0
THRESHOLD_DB, TIMES_AROUND = 4.0, 2.0  # a peak's mean rise over bands, and how far it stands out of its surroundings
GAP, AROUND = 0.06, 0.25  # seconds: two onsets are at least this far apart; surroundings reach this far
LEAD = LAG + 2 * HOP  # silence put before the clip, so that a strike at its very start is a rise as well
DELAY = -0.006  # seconds from the peak of the flux to the strike


def detect_onsets(waveform, sample_rate: int) -> np.ndarray:
    """Times in seconds of the strikes in `waveform` [channels, samples] or [samples], −1..1."""
    rise, times = spectral_flux(waveform, sample_rate)
    if not len(rise):
        return np.zeros(0)
    around = _mean_around(rise, round(AROUND / HOP))
    level = np.maximum(THRESHOLD_DB, TIMES_AROUND * around)
    peaks = np.flatnonzero((rise >= level) & (rise >= _max_around(rise, round(GAP / HOP))))
    apart = [p for k, p in enumerate(peaks) if k == 0 or p - peaks[k - 1] > round(GAP / HOP)]  # one of equal neighbours
    return np.maximum(times[apart] - DELAY, 0.0)


def spectral_flux(waveform, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean rise over bands in dB, [T], and the time of each value in seconds, [T]."""
    wave = np.asarray(waveform, np.float32)
    if wave.ndim == 2:
        wave = wave.mean(0)
    if wave.ndim != 1 or sample_rate <= 0:
        raise ValueError(f"a waveform is [channels, samples] at a positive rate, not {wave.shape} at {sample_rate} Hz")
    levels = band_levels(wave, sample_rate)
    lag = round(LAG / HOP)
    before = np.pad(levels[:-lag], ((0, 0), (1, 1)), mode="edge")
    before = np.maximum(np.maximum(before[:, :-2], before[:, 1:-1]), before[:, 2:])
    rise = np.clip(levels[lag:] - before, 0, LARGEST_RISE_DB).mean(1)
    return rise, (np.arange(len(rise)) + lag / 2) * HOP - LEAD


def band_levels(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Levels in dB of a mono wave in bands of equal ratio, [T, BANDS], a row every HOP.

    The first window is centred LEAD before the clip; the last ends with the clip, whose cut-off tail would be a click.
    """
    window = max(round(WINDOW * sample_rate), 8)
    padded = np.pad(wave, (round(LEAD * sample_rate) + window // 2, 0))
    last = len(padded) - window
    if last < 0:
        return np.full((1, BANDS), FLOOR_DB)
    starts = np.round(np.arange(0, last / sample_rate, HOP) * sample_rate).astype(int)
    hann = np.hanning(window + 2)[1:-1].astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[starts] * hann
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2 / (hann.sum() / 2) ** 2
    edges = _edges(window, sample_rate)
    bands = np.add.reduceat(power, edges[:-1], axis=1)[:, : len(edges) - 1]
    decibels = 10 * np.log10(np.maximum(bands, 10 ** (FLOOR_DB / 10)))
    return np.maximum(decibels, decibels.max() - RANGE_DB)


def _edges(window: int, sample_rate: int) -> np.ndarray:
    """Increasing FFT bins that bound the bands; fewer bands where they would be narrower than a bin."""
    highest = min(HIGHEST_HZ, sample_rate / 2)
    hertz = np.geomspace(LOWEST_HZ, highest, BANDS + 1)
    return np.unique(np.clip(np.round(hertz * window / sample_rate).astype(int), 0, window // 2))


def _windows(values: np.ndarray, reach: int, fill: float) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, constant_values=fill), 2 * reach + 1)


def _max_around(values: np.ndarray, reach: int) -> np.ndarray:
    return _windows(values, reach, -np.inf).max(1)


def _mean_around(values: np.ndarray, reach: int) -> np.ndarray:
    return _windows(values, reach, 0.0).mean(1)
