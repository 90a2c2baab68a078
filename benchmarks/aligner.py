"""Measures the overhead of an aligned sampler step, as a ratio of medians of interleaved runs.

python -m duet_av.benchmarks.aligner [--runs N] [--binder pe_av] [--steps N] [--tasks v2a …] [--cpu]
python -m duet_av.benchmarks.aligner --memory

For each task, compares a sampler step with the aligner to its parts, measured separately: a forward pass of the denoiser, and
a forward and backward pass of decoding and binder. The predicted noise is treated as constant, so there is no backward pass
through the denoiser.

--binder pe_av: PE-AV with random weights and the widths of its small model: towers of 12 layers of 768, the encoder of DAC, and a
picture tower of 2 of PE-Core L's 24 blocks at 112 pixels. --memory: how much more memory its gradient takes for longer clips.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cache, partial

import torch

from ..av_models.aligner_settings import GENERATED
from ..av_models.alignment import Alignment
from ..av_models.binders.base import Binder
from ..av_models.binders.pe_av import PEAV
from ..av_models.binders.pe_av_features import Processing
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
from . import peak_memory
from .forked import run_in_child
from .guidance import discard, interleaved
from .small_models.pe_av import sizes

Clock = Callable[[], float]
STEPS = 8
SECONDS, FPS, RATE, SIDE = (2, 4, 8), 16, 48_000, 112
PROMPT = "a ball bouncing"


@cache
def make_pe_av() -> PEAV:
    """Returns a PE-AV of random weights, which cannot embed text."""
    from transformers import PeAudioVideoConfig

    made = sizes(99)
    tower = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 6, "head_dim": 128}
    both = made["audio_video_config"] | tower | {"num_hidden_layers": 1}
    both["audio_config"] |= tower
    both["video_config"] |= tower
    both["audio_config"]["dac_config"] |= {"encoder_hidden_size": 64, "codebook_dim": 128}
    vision = {"img_size": SIDE, "patch_size": 14, "embed_dim": 1024, "depth": 2, "num_heads": 16, "ref_feat_shape": 24}
    both["video_config"]["vision_config"]["model_args"] = vision
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PEAV(PeAudioVideoConfig(**made | {"audio_video_config": both}), Processing(SIDE)).eval().requires_grad_(False)


def measure_memory() -> dict[str, int | str]:
    """Returns the megabytes that a gradient through PE-AV takes beside its weights, by the seconds of the clip."""
    ended = {seconds: run_in_child(partial(_megabytes, seconds), seconds=1800, gigabytes=12) for seconds in SECONDS}
    return {str(seconds): each.error or each.value for seconds, each in ended.items()}


def _megabytes(seconds: int) -> int:
    binder = make_pe_av()
    frames = torch.rand(1, seconds * FPS, 64, 64, 3).requires_grad_()
    wave = torch.randn(1, 1, seconds * RATE).requires_grad_()
    before = peak_memory.resident()
    peak_memory.forget_peak()
    with torch.enable_grad():
        apart = binder.embed_video(frames, FPS) - binder.embed_audio(wave, RATE)
        discard(torch.autograd.grad(apart.square().sum(), [frames, wave]))
    return (peak_memory.peak() - before) // 10**6


def measure_ratio(task: str, model: JointModel, runs: int, binder: Binder, steps: int, clock: Clock) -> float:
    """Returns the time of an aligned step divided by the time of its parts."""
    shape = model.shape()
    size = model.latent_shape(shape)
    latent = AVLatent(*(torch.randn(each, generator=torch.Generator().manual_seed(1)) for each in (size.video, size.audio)))
    frames, waveform = model.decode(latent, shape)
    reference = Reference(frames, float(shape.video.fps), frames[:, 0], waveform, shape.audio.sample_rate)
    words = float("text" in binder.modalities)
    aligner = Aligner(binder=binder, task=task, first=0.0, update="sign", save_memory=False, words=words)
    condition = model.encode(PROMPT, PROMPT)

    def begin() -> Alignment:
        return aligner.begin(model, shape, (PROMPT, PROMPT), reference)

    def step() -> None:
        prompted, guidance = PromptedModel(model.denoiser, condition, condition), make_guidance("none", removed=True)
        sample(prompted, NoiseSource(size), guidance, SamplingSchedule(steps), alignment=begin())

    def parts() -> None:
        alignment, t = begin(), torch.full((1,), 0.5)
        for _ in range(steps):
            model.denoiser.predict(latent, AVTime(t, t), condition, [CouplingKind.REMOVED])
            _forward_and_backward(alignment, latent, GENERATED[task])

    took = interleaved({"step": partial(_timed, step, clock), "parts": partial(_timed, parts, clock)}, runs, task)
    return round(took["step"] / took["parts"], 3)


def _timed(run: Callable[[], None], clock: Clock) -> float:
    began = clock()
    run()
    return clock() - began


def _forward_and_backward(alignment: Alignment, latent: AVLatent, made: tuple[str, ...]) -> None:
    moving = {name: getattr(latent, name).clone().requires_grad_() for name in made}
    with torch.enable_grad():
        loss = alignment.loss(AVLatent(**{"video": latent.video, "audio": latent.audio} | moving))
        discard(torch.autograd.grad(loss.sum(), list(moving.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--binder", choices=["bounce_bind", "pe_av"], default="bounce_bind")
    parser.add_argument("--tasks", nargs="+", choices=list(GENERATED), default=list(GENERATED))
    parser.add_argument("--memory", action="store_true", help="measure PE-AV's memory instead of times")
    parser.add_argument("--cpu", action="store_true", help="count seconds of this process alone, where others run beside it")
    args = parser.parse_args()
    if args.memory:
        sys.stdout.write(json.dumps(measure_memory()) + "\n")
        return
    binder: Binder = make_pe_av() if args.binder == "pe_av" else load_bounce_bind()
    model = load_untrained_bounce()
    clock = time.process_time if args.cpu else time.perf_counter
    measured = {task: measure_ratio(task, model, args.runs, binder, args.steps, clock) for task in args.tasks}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
