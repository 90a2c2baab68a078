"""What guidance costs beyond the network's own work, as ratios of medians of interleaved runs.

python -m duet_av.benchmarks.guidance [--runs N]

overhead: what the sampler adds to forwards of 100 ms each, in shares of a forward, by strategy.
cut: one attention with a dense block mask against two attentions, 16 k tokens; times, and peak memory in MiB.
star: JointCFG* against JointCFG, Bounce, two branches in one call.
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

import torch
from torch.nn.functional import scaled_dot_product_attention
from tqdm import tqdm

from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVLatent, CouplingKind
from ..av_models.experts.base import QKV
from ..av_models.guidance import make_guidance
from ..av_models.joint.avfulldit import couple, full_attention
from ..av_models.noise import NoiseSource
from ..av_models.path import FLOW
from ..av_models.sampling import sample
from ..av_models.schedule import SamplingSchedule
from ..bounce.shipped import load_joint_model

FORWARD = 0.1  # seconds
STEPS = 4
STRATEGIES = ("none", "cfg", "joint_cfg", "dual_cfg", "modality_cfg", "cfg_zero_star", "apg")
VIDEO_TOKENS, SOUND_TOKENS, HEADS, SHARED, HEAD_SIZE = 12_288, 4_096, 4, 2, 32


class Waiting:
    """Keeps the processor busy for `FORWARD` seconds a call, whatever it is asked, as a network would."""

    paths, prediction, kinds, skippable = (FLOW, FLOW), "flow", frozenset(CouplingKind), 0

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, latent, t, cond, kinds):
        self.calls += 1
        end = time.perf_counter() + FORWARD
        while time.perf_counter() < end:
            pass
        return latent


def interleaved(tasks: dict[str, Callable[[], float | None]], runs: int, label: str) -> dict[str, float]:
    """Median seconds of each task, one run of each in turn; a task may say itself what it took."""
    took: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in tqdm(range(runs + 1), desc=label):
        for name, task in tasks.items():
            began = time.perf_counter()
            own = task()
            took[name].append(time.perf_counter() - began if own is None else own)
    return {name: statistics.median(each[1:]) for name, each in took.items()}  # the first warms up


def overhead(runs: int) -> dict[str, float]:
    """(sampling − bare forwards) / forwards / 100 ms."""
    model = load_joint_model("Bounce")
    texts, shape = (model.encode("", ""), model.encode("", "")), model.latent_shape(model.shape())
    latent = AVLatent(torch.zeros(shape.video), torch.zeros(shape.audio))

    def beyond(name: str) -> Callable[[], float]:
        def run() -> float:
            waiting, began = Waiting(), time.perf_counter()
            sample(PromptedModel(waiting, *texts), NoiseSource(shape), make_guidance(name), SamplingSchedule(STEPS))
            sampled, bare = time.perf_counter() - began, time.perf_counter()
            for _ in range(waiting.calls):
                Waiting().predict(latent, None, None, None)
            return (sampled - (time.perf_counter() - bare)) / waiting.calls

        return run

    found = interleaved({name: beyond(name) for name in STRATEGIES}, runs, "overhead")
    return {name: round(seconds / FORWARD, 4) for name, seconds in found.items()}


def heads(tokens: int, count: int) -> QKV:
    g = torch.Generator().manual_seed(tokens + count)
    return QKV(*(torch.randn(1, tokens, count, HEAD_SIZE, generator=g) for _ in range(3)))


def two_attentions(parts: tuple[QKV, QKV, QKV]) -> tuple:
    return couple(*parts, text=0, full=0, meet=full_attention)


def dense_mask(parts: tuple[QKV, QKV, QKV]) -> torch.Tensor:
    """The same as one attention over all rows, with a mask of its own."""
    video, own, extra = parts
    q, k, v = (torch.cat([getattr(video, n), torch.cat([getattr(own, n), getattr(extra, n)], 2)], 1).transpose(1, 2) for n in "qkv")
    mask = torch.block_diag(*(torch.ones(n, n, dtype=torch.bool) for n in (VIDEO_TOKENS, SOUND_TOKENS)))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)


WAYS = {"two_attentions": two_attentions, "dense_mask": dense_mask}


def attention_parts() -> tuple[QKV, QKV, QKV]:
    return heads(VIDEO_TOKENS, HEADS), heads(SOUND_TOKENS, SHARED), heads(SOUND_TOKENS, HEADS - SHARED)


def peak_of(way: str) -> float:
    """MiB that one pass adds to this process's peak."""
    parts = attention_parts()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _peak()
    WAYS[way](parts)
    return (_peak() - before) / 1024


def _peak() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def cut(runs: int) -> dict[str, float]:
    parts = attention_parts()
    took = interleaved({way: lambda run=run: void(run(parts)) for way, run in WAYS.items()}, runs, "cut")
    peaks = {}
    for way in WAYS:
        with get_context("spawn").Pool(1) as process:
            peaks[f"{way}_peak_mib"] = round(process.apply(peak_of, (way,)))
    return {"faster": round(took["dense_mask"] / took["two_attentions"], 2), **peaks}


def star(runs: int) -> dict[str, float]:
    model = load_joint_model("Bounce")
    texts = model.encode("a red metal ball bouncing", "a metal ball"), model.encode("", "")
    shape = model.latent_shape(model.shape())
    guidances = {name: make_guidance(name, video_scale=2.5, audio_scale=2.5) for name in ("joint_cfg", "joint_cfg_star")}
    tasks = {
        name: lambda guidance=guidance: void(
            sample(PromptedModel(model.denoiser, *texts), NoiseSource(shape), guidance, SamplingSchedule(STEPS))
        )
        for name, guidance in guidances.items()
    }
    took = interleaved(tasks, runs, "star")
    return {"star_over_joint_cfg": round(took["joint_cfg_star"] / took["joint_cfg"], 3)}


def void(_) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    measured = {"overhead": overhead(runs), "cut": cut(runs), "star": star(runs)}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
