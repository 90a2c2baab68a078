"""The tasks of `duet eval`: which parts of a simulated clip are known to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.clip_latent import TimeSelector, before, encode_clip, everything, first_frame, make_known_masks, nothing
from ...av_models.contract import AVLatent
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.media.fit import fit_frames, fit_waveform
from ...av_models.metrics import intervals
from ..detect.balls import find_spots
from ..world.render import render
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import FPS, FRAMES, SECONDS, Worlds

KEPT_SECONDS = SECONDS / 2
NEAR = 2.0 / 64  # frame widths
MAX_SEAM_JUMP = 2.0  # multiple of the median frame difference


@dataclass(frozen=True)
class Task:
    """Functions of the time that select the known frames and the known samples."""

    video: TimeSelector
    audio: TimeSelector


TASKS = {
    "t2av": None,
    "i2av": Task(first_frame, nothing),
    "v2a": Task(everything, nothing),
    "a2v": Task(nothing, everything),
    "extend": Task(before(KEPT_SECONDS), before(KEPT_SECONDS)),
}


def task_known_parts(
    task: str, model: JointModel, worlds: Worlds, mode: str | None = None
) -> Callable[[int, int], KnownParts] | None:
    """Returns a function of (start, stop) that encodes the known parts of those clips; None for a task without known parts.

    mode: "clean" or "renoised" (see `KnownParts`); None uses the mode that the model was trained with.
    """
    chosen, shape = TASKS[task], model.shape()
    if chosen is None:
        return None

    def known_parts(start: int, stop: int) -> KnownParts:
        part = worlds[start:stop]
        pictures = torch.from_numpy(render(part, model.clip.height)[:, :FRAMES])
        sounds = torch.from_numpy(render_sound(part))[:, None]
        clips = [
            encode_clip(model, shape, fit_frames(frames, FPS, shape.video), fit_waveform(sound, SAMPLE_RATE, shape.audio))
            for frames, sound in zip(pictures, sounds)
        ]
        known = make_known_masks(model, shape, chosen.video, chosen.audio).to(model.device)
        return KnownParts(AVLatent.cat(clips), known, mode or model.known_mode)

    return known_parts


def measure_task(task: str, model: JointModel, pictures: Sequence[np.ndarray | Tensor], worlds: Worlds) -> dict[str, Any]:
    """Measures how well the generated frames continue the known ones. Returns figures in addition to those of `evaluate`.

    i2av: the share of clips whose first frame has the balls within 2 pixels. extend: the share of clips without a jump where
    the known part ends. Other tasks have no such figures.
    """
    if task == "i2av":
        near = [_first_frame_error(frames, row, worlds) <= NEAR for row, frames in enumerate(pictures)]
        return {"first_frame_within_2px": intervals.share_and_interval(near)}
    if task == "extend":
        known = make_known_masks(model, model.shape(), before(KEPT_SECONDS), nothing).video
        seam = model.video_codec.stride.frames(int(known.sum()))
        true = render(worlds, model.clip.height)[:, :FRAMES] / np.float32(255)
        kept = {"no_jump_at_seam": pictures, "no_jump_at_seam_of_true_clips": true}
        return {
            name: intervals.share_and_interval([relative_jump(x, seam) <= MAX_SEAM_JUMP for x in clips])
            for name, clips in kept.items()
        }
    return {}


def relative_jump(frames: np.ndarray | Tensor, at: int) -> float:
    """Returns the mean difference of frames `at` − 1 and `at`, divided by the median difference of successive frames."""
    difference = np.abs(np.diff(np.asarray(frames, np.float32), axis=0)).mean((1, 2, 3))
    return float(difference[at - 1] / max(np.median(difference), 1e-6))


def _first_frame_error(frames: np.ndarray | Tensor, row: int, worlds: Worlds) -> float:
    """Returns the largest distance in frame widths of a true ball in the first frame to the nearest detected one."""
    centres = find_spots(np.asarray(frames[:1])).centre
    true = worlds.position[row, worlds.exists[row], 0]
    if len(centres) != len(true):
        return float("inf")
    return float(np.linalg.norm(true[:, None] - centres, axis=-1).min(1).max())
