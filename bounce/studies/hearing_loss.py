"""The video loss of a joint model on validation clips, and how much it depends on the audio."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind
from ...av_models.joint_model import JointModel
from ...av_models.metrics.intervals import bootstrap_interval
from ...av_models.training.flow import add_noise
from ..world.captions import captions
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import Worlds, simulate

TIMES = (0.5, 0.7, 0.85, 0.95)
CLIPS = 128


def validation_loss(model: JointModel, hears: bool) -> float:
    """Computes the mean squared error of the video velocity on validation clips, at fixed timesteps and with fixed noise.

    hears: whether the model was trained with audio; otherwise the joint parameters are removed.
    """
    return float(_errors(model, _latents(model), CouplingKind.FULL if hears else CouplingKind.REMOVED).mean())


def measure_audio_use(model: JointModel) -> dict[str, Any]:
    """Measures how much the video error increases, in per cent, if the audio is shifted by half a clip.

    Returns {"use", "interval"}: the mean over timesteps and its 95 % interval over clips. It is near zero if the video does
    not depend on the audio.
    """
    clean = _latents(model)
    late = AVLatent(clean.video, clean.audio.roll(clean.audio.shape[-1] // 2, -1))

    def growth(sums: np.ndarray) -> np.ndarray:
        return 100 * (sums[..., len(TIMES) :] / sums[..., : len(TIMES)] - 1).mean(-1)

    rows = np.concatenate([_errors(model, each, CouplingKind.FULL) for each in (clean, late)], 1)
    return {"use": float(growth(rows.sum(0))), "interval": list(bootstrap_interval(rows, growth))}


@torch.no_grad()
def _errors(model: JointModel, clean: AVLatent, kind: CouplingKind) -> np.ndarray:
    """Computes the squared error of the video velocity of each clip at each timestep, [clips, timesteps]."""
    seen, heard = captions(_worlds(), 0)
    cond = AVCondition(model.conditioner.video_text(seen), model.conditioner.audio_text(heard))
    errors = []
    for number, t in enumerate(TIMES):
        torch.manual_seed(number)
        times = torch.full((clean.rows,), t)
        (x_v, velocity), (x_a, _) = add_noise(clean.video, times), add_noise(clean.audio, times)
        out = model.denoiser.predict(AVLatent(x_v, x_a), AVTime(times, times), cond, [kind] * clean.rows)
        errors.append((out.video - velocity).square().flatten(1).mean(1))
    return torch.stack(errors, 1).double().numpy()


def _worlds() -> Worlds:
    return simulate(CLIPS, "val", seed=0)


@torch.no_grad()
def _latents(model: JointModel) -> AVLatent:
    """Encodes the validation clips."""
    worlds = _worlds()
    frames: Tensor = torch.from_numpy(render(worlds, model.clip.height)).float() / 255
    return AVLatent(model.video_codec.encode(frames), model.audio_codec.encode(torch.from_numpy(render_sound(worlds))[:, None]))
