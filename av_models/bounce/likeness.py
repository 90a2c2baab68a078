"""What a binder and plain differences say of clips: counterparts of IB-VA, FVD and the motion score (JointDiT, table 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..binders.base import Binder
from ..metrics.frechet import frechet
from ..metrics.intervals import mean_interval
from .evaluate import Clip


def likeness(clips: Sequence[Clip], true: Iterable[Clip], binder: Binder, fps: float) -> dict[str, Any]:
    """cos of picture and sound, the Fréchet distance of pictures from those of `true` clips, both in the binder's space, and
    the mean absolute difference of neighbouring frames in per cent of full scale; with 95 % intervals of the means."""
    seen, heard = _embedded(clips, binder, fps)
    alike = (seen * heard).sum(1)
    motion = np.array([100 * float(np.abs(np.diff(np.asarray(frames), axis=0)).mean()) for frames, *_ in clips])
    figures = {"similarity": _mean(alike), "motion": _mean(motion)}
    if len(clips) > seen.shape[1]:
        figures["frechet"] = round(frechet(seen, _embedded(list(true), binder, fps)[0]), 4)
    return figures


@torch.no_grad()
def _embedded(clips: Sequence[Clip], binder: Binder, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Of every clip's picture and sound, [N, D]."""
    seen = [binder.embed_video(torch.as_tensor(frames)[None], fps) for frames, _, _ in clips]
    heard = [binder.embed_audio(torch.as_tensor(wave)[None], rate) for _, wave, rate in clips]
    return torch.cat(seen).numpy(), torch.cat(heard).numpy()


def _mean(values: np.ndarray) -> dict[str, Any]:
    return {"mean": round(float(values.mean()), 4), "ci": [round(v, 4) for v in mean_interval(values)]}
