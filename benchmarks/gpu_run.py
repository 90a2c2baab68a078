"""Measures a joint network with random weights on one GPU: a script for each model gives the network, the prompts and the sizes.

seconds: of a sampling step, the median without the first one. peak_gib: the most memory of the GPU. share: what the network's
matrix products reach of the chip's peak (`--peak`, in TFLOPS; 989 for bfloat16 on an H100 or H200).
half_memory: two steps with half of that memory and group offloading; equal: whether the results are the same bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVCondition, AVLatent, LatentShape
from ..av_models.guidance import Guidance, make_guidance
from ..av_models.noise import NoiseSource
from ..av_models.offload import offload
from ..av_models.sampling import RunOptions, sample
from ..av_models.schedule import SamplingSchedule


@dataclass(frozen=True)
class Run:
    """What is sampled. network: a joint denoiser on `device`. prompts: the positive and the negative one. shift: of the times."""

    device: torch.device
    network: Any
    prompts: tuple[AVCondition, AVCondition]
    latents: LatentShape
    shift: float
    guidance: Guidance

    def sample(self, steps: int) -> tuple[AVLatent, list[float]]:
        """Returns the latents, and the seconds of every step."""
        times = [time.perf_counter()]

        def note(*_: Any) -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

        model, noise = PromptedModel(self.network, *self.prompts), NoiseSource(self.latents, 1, 2)
        result = sample(model, noise, self.guidance, SamplingSchedule(steps, self.shift), options=RunOptions(on_step=note))
        return result.latent, [after - before for before, after in zip(times, times[1:])]

    def count_flops(self) -> int:
        """Returns the floating point operations of one step."""
        with FlopCounterMode(display=False) as counter:
            self.sample(1)
        return counter.get_total_flops()

    def guided(self, strategy: str, **options: Any) -> Run:
        """Returns the same run with another guidance."""
        return replace(self, guidance=make_guidance(strategy, **options))


Make = Callable[[bool, torch.device, Guidance], Run]
"""Makes the run of a model: whether it is tiny, its device, its guidance."""


def to_bf16(transformer: nn.Module) -> nn.Module:
    """Returns a diffusers network in bfloat16, with the layers that diffusers keeps in float32."""
    kept = getattr(transformer, "_keep_in_fp32_modules", None) or ()
    for name, module in transformer.named_modules():
        parts = set(name.split("."))
        for own, weight in module.named_parameters(recurse=False):
            if not parts.union({own}) & set(kept):
                weight.data = weight.data.to(torch.bfloat16)
    return transformer.eval().requires_grad_(False)


def measure(run: Run, steps: int, peak: float, flops: int | None = None) -> dict[str, float]:
    """Returns the seconds of a step, the memory and the share of the chip's peak.

    flops: of a step; None: they are counted, which must not be done with a compiled network: it would never be compiled.
    """
    flops = run.count_flops() if flops is None else flops
    _reset_memory(run.device)
    _, seconds = run.sample(steps)
    step = statistics.median(seconds[1:] or seconds)
    return {"seconds": round(step, 3), "first": round(seconds[0], 2), "peak_gib": _peak_gib(run.device),
            "tflop": round(flops / 1e12, 2), "share": round(flops / step / (peak * 1e12), 3)}  # fmt: skip


def measure_half_memory(run: Run, peak_gib: float) -> dict[str, Any]:
    """Returns whether two steps with group offloading in half of the memory give the same bits."""
    whole, _ = run.sample(2)
    if run.device.type == "cuda":
        total = torch.cuda.get_device_properties(run.device).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, peak_gib / 2 / total))
    run.network.to("cpu")
    torch.cuda.empty_cache()
    offload(run.network, run.device)
    _reset_memory(run.device)
    parts, seconds = run.sample(2)
    equal = all(torch.equal(a, b) for a, b in ((whole.video, parts.video), (whole.audio, parts.audio)))
    return {"equal": equal, "seconds": round(seconds[-1], 3), "peak_gib": _peak_gib(run.device)}


def _reset_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gib(device: torch.device) -> float:
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else 0.0


def _attempt(task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result, or the error as text, so that one failure leaves the other figures."""
    try:
        return task()
    except (RuntimeError, ValueError) as error:
        return {"error": str(error).partition("\n")[0][:200]}


@torch.no_grad()
def main(description: str, make: Make, strategies: tuple[str, ...]) -> None:
    """Reads the arguments, measures and prints a line of JSON after each measurement. strategies: the defaults of `--strategy`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", nargs="+", default=list(strategies), help="guidance strategies")
    parser.add_argument("--steps", type=int, default=5, help="sampling steps of each measurement")
    parser.add_argument("--peak", type=float, default=989.0, help="peak of the chip in TFLOPS")
    parser.add_argument("--small", action="store_true", help="a tiny network, also on a CPU")
    parser.add_argument("--skip", nargs="+", default=[], choices=["compiled", "half_memory"], help="what is not measured")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.small:
        parser.error("there is no GPU; use --small to try the script on a CPU")
    run = make(args.small, device, make_guidance(args.strategy[0]))
    made: dict[str, Any] = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    for strategy in args.strategy:
        guided = run.guided(strategy)
        made[strategy] = _attempt(lambda: measure(guided, args.steps, args.peak))
        _say(made)
    if "compiled" not in args.skip:
        flops = run.count_flops()
        run.network.compile_blocks()
        made["compiled"] = _attempt(lambda: measure(run, args.steps + 1, args.peak, flops))
        _say(made)
        for compiled in ("run_block", "run_blocks"):
            run.network.__dict__.pop(compiled, None)
    if "half_memory" not in args.skip:
        made["half_memory"] = _attempt(lambda: measure_half_memory(run, made[args.strategy[0]]["peak_gib"]))
        _say(made)


def _say(made: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(made) + "\n")
    sys.stdout.flush()
