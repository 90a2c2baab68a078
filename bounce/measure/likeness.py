"""Metrics in the embedding space of a binder, and frame differences.

They correspond to IB-VA, FVD and the motion score of JointDiT, table 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ...av_models.binders.base import Binder
from ...av_models.metrics.frechet import frechet_distance
from ...av_models.metrics.intervals import mean_and_interval
from .evaluate import Clip


def likeness(clips: Sequence[Clip], true: Iterable[Clip], binder: Binder, fps: float) -> dict[str, Any]:
    """Computes three metrics, the means with 95 % intervals.

    similarity: cosine similarity of the video and audio embeddings.
    frechet: Fréchet distance of the video embeddings to those of the `true` clips; left out if there are too few clips.
    motion: mean absolute difference of successive frames, in per cent of full scale.
    """
    seen = _embed_videos(clips, binder, fps)
    alike = (seen * _embed_audios(clips, binder)).sum(1)
    motion = np.array([100 * float(np.abs(np.diff(np.asarray(frames), axis=0)).mean()) for frames, *_ in clips])
    figures = {"similarity": _mean(alike), "motion": _mean(motion)}
    if len(clips) > seen.shape[1]:
        figures["frechet"] = round(frechet_distance(seen, _embed_videos(true, binder, fps)), 4)
    return figures


def similarity(clips: Sequence[Clip], binder: Binder, fps: float) -> np.ndarray:
    """Computes the cosine similarity of the video and audio embeddings of each clip, [N]."""
    return (_embed_videos(clips, binder, fps) * _embed_audios(clips, binder)).sum(1)


@torch.no_grad()
def _embed_videos(clips: Iterable[Clip], binder: Binder, fps: float) -> np.ndarray:
    """Returns [N, D]."""
    return torch.cat([binder.embed_video(torch.as_tensor(frames)[None], fps) for frames, *_ in clips]).numpy()


@torch.no_grad()
def _embed_audios(clips: Iterable[Clip], binder: Binder) -> np.ndarray:
    """Returns [N, D]."""
    return torch.cat([binder.embed_audio(torch.as_tensor(wave)[None], rate) for _, wave, rate in clips]).numpy()


def _mean(values: np.ndarray) -> dict[str, Any]:
    return dict(zip(("mean", "ci"), mean_and_interval(values)))
