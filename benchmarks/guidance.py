"""Measures the overhead of guidance, as ratios of medians of interleaved runs.

python -m duet_av.benchmarks.guidance [--runs N]

overhead: time that the sampler adds to a forward pass of 100 ms, relative to the forward pass, by strategy.
cut: one attention with a dense block mask compared to two attentions, 16 k tokens; times, and peak memory in MiB.
star: JointCFG* compared to JointCFG on Bounce, with two branches in one call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from tqdm import tqdm

from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind
from ..av_models.experts.base import QKV
from ..av_models.guidance import make_guidance
from ..av_models.joint.avfulldit import coupled_attention, full_attention
from ..av_models.noise import NoiseSource
from ..av_models.path import FLOW
from ..av_models.sampling import sample
from ..av_models.schedule import SamplingSchedule
from ..bounce.shipped import load_joint_model

FORWARD = 0.1  # seconds
STEPS = 4
STRATEGIES = ("none", "cfg", "joint_cfg", "dual_cfg", "modality_cfg", "cfg_zero_star", "apg")
VIDEO_TOKENS, SOUND_TOKENS, HEADS, SHARED, HEAD_SIZE = 12_288, 4_096, 4, 2, 32


class BusyDenoiser:
    """A denoiser that keeps the CPU busy for `FORWARD` seconds per call and returns its input."""

    paths, prediction, kinds, skippable = (FLOW, FLOW), "flow", frozenset(CouplingKind), 0

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: list[CouplingKind]) -> AVLatent:
        self.calls += 1
        end = time.perf_counter() + FORWARD
        while time.perf_counter() < end:
            pass
        return latent


def interleaved(tasks: dict[str, Callable[[], float | None]], runs: int, label: str) -> dict[str, float]:
    """Runs all tasks in turn and returns the median seconds of each. A task may return its own time in seconds."""
    took: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in tqdm(range(runs + 1), desc=label):
        for name, task in tasks.items():
            began = time.perf_counter()
            own = task()
            took[name].append(time.perf_counter() - began if own is None else own)
    return {name: statistics.median(each[1:]) for name, each in took.items()}  # the first warms up


def measure_overhead(runs: int) -> dict[str, float]:
    """Returns (time to sample − time of the forward passes) / number of forward passes / 100 ms, by strategy."""
    model = load_joint_model("Bounce")
    texts, shape = (model.encode("", ""), model.encode("", "")), model.latent_shape(model.shape())
    latent = AVLatent(torch.zeros(shape.video), torch.zeros(shape.audio))

    t = AVTime(torch.zeros(1), torch.zeros(1))

    def make_task(name: str) -> Callable[[], float]:
        def run() -> float:
            denoiser, began = BusyDenoiser(), time.perf_counter()
            sample(PromptedModel(denoiser, *texts), NoiseSource(shape), make_guidance(name), SamplingSchedule(STEPS))
            sampled, bare = time.perf_counter() - began, time.perf_counter()
            for _ in range(denoiser.calls):
                BusyDenoiser().predict(latent, t, texts[0], [CouplingKind.FULL])
            return (sampled - (time.perf_counter() - bare)) / denoiser.calls

        return run

    found = interleaved({name: make_task(name) for name in STRATEGIES}, runs, "overhead")
    return {name: round(seconds / FORWARD, 4) for name, seconds in found.items()}


def random_heads(tokens: int, count: int) -> QKV:
    """Returns random queries, keys and values [1, tokens, count, HEAD_SIZE]."""
    g = torch.Generator().manual_seed(tokens + count)
    return QKV(*(torch.randn(1, tokens, count, HEAD_SIZE, generator=g) for _ in range(3)))


def two_attentions(parts: tuple[QKV, QKV, QKV]) -> tuple:
    return coupled_attention(*parts, text=0, full=0, cross_modal_attention=full_attention)


def dense_mask(parts: tuple[QKV, QKV, QKV]) -> torch.Tensor:
    """Computes `two_attentions` as one attention over all tokens with a block mask."""
    video, own, extra = parts
    q, k, v = (torch.cat([getattr(video, n), torch.cat([getattr(own, n), getattr(extra, n)], 2)], 1).transpose(1, 2) for n in "qkv")
    mask = torch.block_diag(*(torch.ones(n, n, dtype=torch.bool) for n in (VIDEO_TOKENS, SOUND_TOKENS)))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)


ATTENTIONS = {"two_attentions": two_attentions, "dense_mask": dense_mask}


def attention_parts() -> tuple[QKV, QKV, QKV]:
    video, shared = random_heads(VIDEO_TOKENS, HEADS), random_heads(SOUND_TOKENS, SHARED)
    return video, shared, random_heads(SOUND_TOKENS, HEADS - SHARED)


def peak_memory(name: str) -> float:
    """Returns the memory in MiB that one pass adds to the peak of this process."""
    parts = attention_parts()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _peak()
    ATTENTIONS[name](parts)
    return (_peak() - before) / 1024


def _peak() -> int:
    """Returns the peak resident memory in KiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def measure_cut(runs: int) -> dict[str, float]:
    """Returns the speed-up of two attentions over a dense mask, and the peak memory of both."""
    parts = attention_parts()
    took = interleaved({name: lambda run=run: discard(run(parts)) for name, run in ATTENTIONS.items()}, runs, "cut")
    peaks = {}
    for name in ATTENTIONS:
        with get_context("spawn").Pool(1) as process:
            peaks[f"{name}_peak_mib"] = round(process.apply(peak_memory, (name,)))
    return {"faster": round(took["dense_mask"] / took["two_attentions"], 2), **peaks}


def measure_star(runs: int) -> dict[str, float]:
    """Returns the time of JointCFG* divided by the time of JointCFG."""
    model = load_joint_model("Bounce")
    texts = model.encode("a red metal ball bouncing", "a metal ball"), model.encode("", "")
    shape = model.latent_shape(model.shape())
    guidances = {name: make_guidance(name, video_scale=2.5, audio_scale=2.5) for name in ("joint_cfg", "joint_cfg_star")}
    tasks = {
        name: lambda guidance=guidance: discard(
            sample(PromptedModel(model.denoiser, *texts), NoiseSource(shape), guidance, SamplingSchedule(STEPS))
        )
        for name, guidance in guidances.items()
    }
    took = interleaved(tasks, runs, "star")
    return {"star_over_joint_cfg": round(took["joint_cfg_star"] / took["joint_cfg"], 3)}


def discard(_: Any) -> None:
    """Ignores a result, so that a task returns None and is timed by `interleaved`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    measured = {"overhead": measure_overhead(runs), "cut": measure_cut(runs), "star": measure_star(runs)}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
