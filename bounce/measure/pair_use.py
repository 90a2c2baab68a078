"""`python -m duet_av.bounce.measure.pair_use MODEL`: how much a trained pair uses the other modality.

The loss of each modality on simulated clips, with the clip's own other modality and with that of another clip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind
from ...av_models.joint_model import JointModel
from ...av_models.metrics.intervals import bootstrap_interval
from ...av_models.training.flow import add_noise
from ..shipped import load_joint_model
from ..world.captions import captions
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import SPLITS, Worlds, simulate

TIMES = (0.5, 0.7, 0.85)
AT_ONCE = 8


@torch.no_grad()
def measure_use(model: JointModel, worlds: Worlds, seed: int = 0) -> dict[str, dict[str, float | list[float]]]:
    """Return by how many per cent the loss of video and of audio grows with the other modality of another clip.

    seed: of the captions.
    The mean over `TIMES` with its 95 % interval over clips: {"video": {"use", "interval"}, "audio": …}. It is near zero if a
    modality does not depend on the other one.
    """
    errors = _errors(model, worlds, seed).numpy()
    return {stream: _growth(errors[..., first : first + 2]) for stream, first in (("video", 0), ("audio", 2))}


def _growth(errors: np.ndarray) -> dict[str, float | list[float]]:
    """errors: [clips, times, 2], with the own and with another clip's other modality."""

    def growth(sums: np.ndarray) -> np.ndarray:
        own, other = sums[..., ::2], sums[..., 1::2]
        return 100 * (other / own - 1).mean(-1)

    rows = errors.reshape(len(errors), -1)
    low, high = bootstrap_interval(rows, growth)
    return {"use": round(float(growth(rows.sum(0))), 3), "interval": [round(float(low), 3), round(float(high), 3)]}


def _errors(model: JointModel, worlds: Worlds, seed: int) -> Tensor:
    """Return squared errors [clips, times, 4]: of the video with own and other audio, of the audio with own and other video."""
    frames = torch.from_numpy(render(worlds, model.clip.height)).float() / 255
    waves = torch.from_numpy(render_sound(worlds))[:, None]
    video = torch.cat([model.video_codec.encode(part) for part in frames.split(AT_ONCE)])
    audio = torch.cat([model.audio_codec.encode(part) for part in waves.split(AT_ONCE)])
    cond = AVCondition.cat([model.encode(*pair) for pair in zip(*captions(worlds, seed, drop=0.0))])
    errors = torch.empty(len(worlds.exists), len(TIMES), 4, dtype=torch.float64)
    for number, t in enumerate(TIMES):
        torch.manual_seed(number)
        times = torch.full((len(video),), t)
        (x_v, v_v), (x_a, v_a) = add_noise(video, times), add_noise(audio, times)
        for rows in torch.arange(len(video)).split(AT_ONCE):
            at, part = AVTime(times[rows], times[rows]), AVCondition(*(each.each(lambda x, r=rows: x[r]) for each in _parts(cond)))

            def predict(v: Tensor, a: Tensor) -> AVLatent:
                return model.denoiser.predict(AVLatent(v[rows], a[rows]), at, part, [CouplingKind.FULL] * len(rows))  # noqa: B023

            own, other_audio, other_video = predict(x_v, x_a), predict(x_v, x_a.roll(1, 0)), predict(x_v.roll(1, 0), x_a)
            found = [own.video - v_v[rows], other_audio.video - v_v[rows], own.audio - v_a[rows], other_video.audio - v_a[rows]]
            errors[rows, number] = torch.stack([each.square().flatten(1).mean(1) for each in found], 1).double()
    return errors


def _parts(cond: AVCondition) -> tuple:
    return cond.video, cond.audio


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m duet_av.bounce.measure.pair_use", description=__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--n", type=int, default=64, metavar="N", help="number of clips (64)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    worlds = simulate(args.n, args.split, args.seed)
    print(json.dumps(measure_use(load_joint_model(str(args.model)), worlds, args.seed)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
