"""What a binder and plain differences say of clips: counterparts of IB-VA, FVD and the motion score (JointDiT, table 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ...av_models.binders.base import Binder
from ...av_models.metrics.frechet import frechet
from ...av_models.metrics.intervals import mean_and_interval
from .evaluate import Clip


def likeness(clips: Sequence[Clip], true: Iterable[Clip], binder: Binder, fps: float) -> dict[str, Any]:
    """cos of picture and sound, the Fréchet distance of pictures from those of `true` clips, both in the binder's space, and
    the mean absolute difference of neighbouring frames in per cent of full scale; with 95 % intervals of the means."""
    seen = _embedded_pictures(clips, binder, fps)
    alike = (seen * _embedded_sounds(clips, binder)).sum(1)
    motion = np.array([100 * float(np.abs(np.diff(np.asarray(frames), axis=0)).mean()) for frames, *_ in clips])
    figures = {"similarity": _mean(alike), "motion": _mean(motion)}
    if len(clips) > seen.shape[1]:
        figures["frechet"] = round(frechet(seen, _embedded_pictures(true, binder, fps)), 4)
    return figures


def similarity(clips: Sequence[Clip], binder: Binder, fps: float) -> np.ndarray:
    """cos of every clip's picture and sound, [N]."""
    return (_embedded_pictures(clips, binder, fps) * _embedded_sounds(clips, binder)).sum(1)


@torch.no_grad()
def _embedded_pictures(clips: Iterable[Clip], binder: Binder, fps: float) -> np.ndarray:
    """[N, D]."""
    return torch.cat([binder.embed_video(torch.as_tensor(frames)[None], fps) for frames, *_ in clips]).numpy()


@torch.no_grad()
def _embedded_sounds(clips: Iterable[Clip], binder: Binder) -> np.ndarray:
    return torch.cat([binder.embed_audio(torch.as_tensor(wave)[None], rate) for _, wave, rate in clips]).numpy()


def _mean(values: np.ndarray) -> dict[str, Any]:
    return dict(zip(("mean", "ci"), mean_and_interval(values)))
