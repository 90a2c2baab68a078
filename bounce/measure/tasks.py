"""The tasks that a joint model is measured on: which part of a true clip it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...av_models.clip_latent import When, before, encode_clip, everything, first_frame, known_where, nothing
from ...av_models.contract import AVLatent
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.media.fit import fit_frames, fit_sound
from ...av_models.metrics import intervals
from ..detect.balls import find_spots
from ..world.render import render
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import FPS, FRAMES, SECONDS, Worlds

KEPT_SECONDS = SECONDS / 2
NEAR = 2.0 / 64  # widths
SEAM = 2.0  # times the median frame difference


@dataclass(frozen=True)
class Task:
    """When the picture is given, and when the sound is."""

    video: When
    audio: When


TASKS = {
    "t2av": None,
    "i2av": Task(first_frame, nothing),
    "v2a": Task(everything, nothing),
    "a2v": Task(nothing, everything),
    "extend": Task(before(KEPT_SECONDS), before(KEPT_SECONDS)),
}


def given_of(task: str, model: JointModel, worlds: Worlds, way: str | None = None) -> Callable[[int, int], KnownParts] | None:
    """What is given of clips start to stop of `worlds`; None where nothing is. `way`: not as the model was trained."""
    chosen, shape = TASKS[task], model.shape()
    if chosen is None:
        return None

    def given(start: int, stop: int) -> KnownParts:
        part = worlds[start:stop]
        pictures = torch.from_numpy(render(part, model.clip.height)[:, :FRAMES])
        sounds = torch.from_numpy(render_sound(part))[:, None]
        clips = [
            encode_clip(model, shape, fit_frames(frames, FPS, shape.video), fit_sound(sound, SAMPLE_RATE, shape.audio))
            for frames, sound in zip(pictures, sounds)
        ]
        known = known_where(model, shape, chosen.video, chosen.audio).to(model.device)
        return KnownParts(AVLatent.cat(clips), known, way or model.known_mode)

    return given


def fit_to_given(task: str, model: JointModel, pictures: Sequence, worlds: Worlds) -> dict[str, Any]:
    """How well generated `pictures` go with what was given: figures that `evaluate` does not have."""
    if task == "i2av":
        near = [_first_ball(frames, row, worlds) <= NEAR for row, frames in enumerate(pictures)]
        return {"first_frame_within_2px": intervals.share(near)}
    if task == "extend":
        known = known_where(model, model.shape(), before(KEPT_SECONDS), nothing).video
        seam = model.video_codec.stride.frames(int(known.sum()))
        true = render(worlds, model.clip.height)[:, :FRAMES] / np.float32(255)
        kept = {"no_jump_at_seam": pictures, "no_jump_at_seam_of_true_clips": true}
        return {name: intervals.share([jump(frames, seam) <= SEAM for frames in clips]) for name, clips in kept.items()}
    return {}


def jump(frames, at: int) -> float:
    """The mean difference between frames `at` − 1 and `at`, in medians of all such differences of the clip."""
    difference = np.abs(np.diff(np.asarray(frames, np.float32), axis=0)).mean((1, 2, 3))
    return float(difference[at - 1] / max(np.median(difference), 1e-6))


def _first_ball(frames, row: int, worlds: Worlds) -> float:
    """The largest distance, in widths, of a true ball of the first frame to the nearest one that `frames` shows."""
    centres = find_spots(np.asarray(frames[:1])).centre
    true = worlds.position[row, worlds.exists[row], 0]
    if len(centres) != len(true):
        return float("inf")
    return float(np.linalg.norm(true[:, None] - centres, axis=-1).min(1).max())
