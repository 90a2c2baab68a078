"""Measures the overhead of an aligned sampler step, as a ratio of medians of interleaved runs.

python -m duet_av.benchmarks.aligner [--runs N]

For each task, compares a sampler step with the aligner to its parts, measured separately: a forward pass of the denoiser, and
a forward and backward pass of decoding and binder. The predicted noise is treated as constant, so there is no backward pass
through the denoiser.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from ..av_models.aligner_settings import GENERATED
from ..av_models.alignment import Alignment
from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVLatent, AVTime, CouplingKind
from ..av_models.guidance import make_guidance
from ..av_models.joint_model import JointModel
from ..av_models.latent_aligner import Aligner, Reference
from ..av_models.noise import NoiseSource
from ..av_models.sampling import sample
from ..av_models.schedule import SamplingSchedule
from ..bounce.binder import load_bounce_bind
from ..bounce.shipped import load_untrained_bounce
from .guidance import discard, interleaved

STEPS = 8
PROMPT = "a ball bouncing"


def measure_ratio(task: str, model: JointModel, runs: int) -> float:
    """Returns the time of an aligned step divided by the time of its parts."""
    shape = model.shape()
    size = model.latent_shape(shape)
    latent = AVLatent(*(torch.randn(each, generator=torch.Generator().manual_seed(1)) for each in (size.video, size.audio)))
    frames, waveform = model.decode(latent, shape)
    reference = Reference(frames, float(shape.video.fps), frames[:, 0], waveform, shape.audio.sample_rate)
    aligner = Aligner(binder=load_bounce_bind(), task=task, first=0.0, update="sign", save_memory=False)
    condition = model.encode(PROMPT, PROMPT)

    def begin() -> Alignment:
        return aligner.begin(model, shape, (PROMPT, PROMPT), reference)

    def step() -> None:
        prompted, guidance = PromptedModel(model.denoiser, condition, condition), make_guidance("none", removed=True)
        sample(prompted, NoiseSource(size), guidance, SamplingSchedule(STEPS), alignment=begin())

    def parts() -> None:
        alignment, t = begin(), torch.full((1,), 0.5)
        for _ in range(STEPS):
            model.denoiser.predict(latent, AVTime(t, t), condition, [CouplingKind.REMOVED])
            _forward_and_backward(alignment, latent, GENERATED[task])

    took = interleaved({"step": step, "parts": parts}, runs, task)
    return round(took["step"] / took["parts"], 3)


def _forward_and_backward(alignment: Alignment, latent: AVLatent, made: tuple[str, ...]) -> None:
    moving = {name: getattr(latent, name).clone().requires_grad_() for name in made}
    with torch.enable_grad():
        loss = alignment.loss(AVLatent(**{"video": latent.video, "audio": latent.audio} | moving))
        discard(torch.autograd.grad(loss.sum(), list(moving.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    model = load_untrained_bounce()
    measured = {task: measure_ratio(task, model, runs) for task in GENERATED}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
