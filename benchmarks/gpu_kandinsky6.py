"""Measures Kandinsky 6 Lite with random weights on one GPU: 5 s of 512 × 768 at 24 frames per second, in five minutes.

python -m duet_av.benchmarks.gpu_kandinsky6 [--strategy joint_cfg] [--steps N] [--small]

seconds: of a sampling step, the median without the first one, by what runs. peak_gib: the most memory of the GPU. share: what the
network's matrix products reach of the chip's peak (`--peak`, in TFLOPS; 989 for bfloat16 on an H100 or H200).
half_memory: the same two steps with half of that memory and group offloading; equal: whether the results are the same bits.
--small: a tiny network, which also runs on a CPU, to try the script.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import Kandinsky6Transformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVCondition, AVLatent, Condition, LatentShape
from ..av_models.guidance import make_guidance
from ..av_models.joint.kandinsky6 import Kandinsky6
from ..av_models.noise import NoiseSource
from ..av_models.offload import offload
from ..av_models.sampling import RunOptions, sample
from ..av_models.schedule import SamplingSchedule

SHARED: dict[str, Any] = {
    "in_audio_dim": 40, "out_audio_dim": 40, "audio_freqs_scaling": 0.144, "text_token_padding": True, "ca_rope": True,
    "cross_gates": True, "fix_modulation": True, "visual_token_type_num_embeddings": 2,
}  # fmt: skip
LITE: dict[str, Any] = {
    "model_dim": 1792, "ff_dim": 7168, "time_dim": 512, "num_text_blocks": 2, "num_visual_blocks": 32, "axes_dims": (16, 24, 24),
    "model_dim_a": 896, "ff_dim_a": 3584, "time_dim_a": 512, "axes_dims_a": (16, 24, 24),
}  # fmt: skip
SMALL = LITE | {
    "model_dim": 128, "ff_dim": 256, "time_dim": 64, "num_visual_blocks": 2, "model_dim_a": 64, "ff_dim_a": 128, "time_dim_a": 64,
}  # fmt: skip
LATENTS = LatentShape((1, 16, 31, 64, 96), (1, 40, 218))  # 121 frames of 512 × 768 and their audio
SMALL_LATENTS = LatentShape((1, 16, 3, 8, 8), (1, 40, 18))
WORDS, TEXT_WIDTH, POOLED_WIDTH = 256, 3584, 768


def make_network(small: bool, device: torch.device) -> Kandinsky6:
    """Returns the network with random weights, in bfloat16 with the layers that diffusers keeps in float32."""
    torch.manual_seed(0)
    with torch.device(device):
        transformer = Kandinsky6Transformer3DModel(**SHARED, **(SMALL if small else LITE))
    kept = transformer._keep_in_fp32_modules
    for name, module in transformer.named_modules():
        if not set(kept) & set(name.split(".")):
            module._apply(lambda weight: weight.to(torch.bfloat16) if weight.is_floating_point() else weight, recurse=False)
    return Kandinsky6(transformer.eval().requires_grad_(False)).eval()


def make_prompts(device: torch.device) -> tuple[AVCondition, AVCondition]:
    """Returns random prompts of the widths of Qwen2.5-VL and CLIP."""
    generator = torch.Generator().manual_seed(1)

    def text() -> Condition:
        tokens = torch.randn(1, WORDS, TEXT_WIDTH, generator=generator)
        mask = torch.ones(1, WORDS, dtype=torch.bool)
        return Condition(tokens, mask, torch.randn(1, POOLED_WIDTH, generator=generator)).to(device)

    return tuple(AVCondition(one := text(), one) for _ in range(2))  # type: ignore[return-value]


class Run:
    """One network with its prompts, and what it is sampled with."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        self.device, self.guidance = device, make_guidance(args.strategy)
        self.latents = SMALL_LATENTS if args.small else LATENTS
        self.network, self.prompts = make_network(args.small, device), make_prompts(device)

    def sample(self, steps: int) -> tuple[AVLatent, list[float]]:
        """Returns the latents, and the seconds of every step."""
        times = [time.perf_counter()]

        def note(*_: Any) -> None:
            self.wait()
            times.append(time.perf_counter())

        model = PromptedModel(self.network, *self.prompts)
        result = sample(
            model, NoiseSource(self.latents, 1, 2), self.guidance, SamplingSchedule(steps, 5.0), options=RunOptions(on_step=note)
        )
        return result.latent, [after - before for before, after in zip(times, times[1:])]

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def count_flops(self) -> int:
        """Returns the floating point operations of one step."""
        with FlopCounterMode(display=False) as counter:
            self.sample(1)
        return counter.get_total_flops()


def measure(run: Run, steps: int, flops: int, peak: float) -> dict[str, float]:
    """Returns the seconds of a step, the memory and the share of the chip's peak."""
    _reset_memory(run.device)
    _, seconds = run.sample(steps)
    step = statistics.median(seconds[1:] or seconds)
    return {"seconds": round(step, 3), "first": round(seconds[0], 2), "peak_gib": _peak_gib(run.device),
            "share": round(flops / step / (peak * 1e12), 3)}  # fmt: skip


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="joint_cfg", help="the guidance strategy")
    parser.add_argument("--steps", type=int, default=5, help="sampling steps of each measurement")
    parser.add_argument("--peak", type=float, default=989.0, help="peak of the chip in TFLOPS")
    parser.add_argument("--small", action="store_true", help="a tiny network, also on a CPU")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.small:
        parser.error("there is no GPU; use --small to try the script on a CPU")
    run = Run(args, device)
    flops = run.count_flops()
    made: dict[str, Any] = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "strategy": args.strategy,
                            "tflop_per_step": round(flops / 1e12, 2)}  # fmt: skip
    made["plain"] = measure(run, args.steps, flops, args.peak)
    _say(made)
    run.network.compile_blocks()
    made["compiled"] = _attempt(lambda: measure(run, args.steps + 1, flops, args.peak))
    _say(made)
    del run.network.__dict__["run_block"]
    made["half_memory"] = _attempt(lambda: measure_half_memory(run, made["plain"]["peak_gib"]))
    _say(made)


def _say(made: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(made) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with torch.no_grad():
        main()
