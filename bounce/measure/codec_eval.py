"""Measures the reconstruction error of a model's codecs on simulated clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...av_models.joint_model import JointModel
from ...av_models.metrics import intervals, matching
from ...av_models.metrics.onsets import detect_onsets
from ..detect.quality import ball_errors, decibels, log_spectral_distance, psnr
from ..world.world import SECONDS, simulate
from .evaluate import true_clips


def codec_figures(model: JointModel, n: int, split: str, seed: int = 0) -> dict[str, Any]:
    """Encodes and decodes `n` simulated clips and measures the result.

    Returns the PSNR overall and on ball pixels (dB), the log-spectral distance (dB), the onset F1, and the peak of decoded
    silence (linear).
    """
    worlds = simulate(n, split, seed)
    overall, distances, counts, ball = [], [], [], np.zeros(2)
    size, rate = model.clip.height, model.audio_codec.sample_rate
    pairs = zip(true_clips(worlds, size=size), true_clips(worlds, model.video_codec, model.audio_codec, size))
    for row, ((frames, wave, _), (decoded, heard, _)) in enumerate(pairs):
        frames, wave, decoded, heard = (np.asarray(x) for x in (frames, wave, decoded, heard))
        overall.append(psnr(decoded, frames))
        ball += ball_errors(decoded, frames)
        distances.append(log_spectral_distance(heard, wave))
        times = [t for t in worlds.contact_time[row] if t < SECONDS]
        counts.append(matching.match(times, detect_onsets(heard, rate)).counts)
    silence = model.audio_codec.decode(model.audio_codec.encode(torch.zeros(1, 1, round(SECONDS * rate))))
    return {
        "n": n, "split": split, "psnr_db": _mean(overall), "ball_psnr_db": round(decibels(ball[0] / ball[1]), 2),
        "log_spectral_distance_db": _mean(distances), "onsets_f1": round(float(matching.f1(np.sum(counts, 0))), 4),
        "onsets_f1_ci": [round(float(v), 4) for v in intervals.f1_interval(np.array(counts))],
        "silence_peak": round(float(silence.abs().max()), 6),
    }  # fmt: skip


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3)
