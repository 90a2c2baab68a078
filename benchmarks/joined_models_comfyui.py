"""The part of `benchmarks/joined_models.py` that runs in ComfyUI's own Python: joined runs and runs of the models alone, timed."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.cli_args

comfy.cli_args.args.cpu = True

import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from comfy.nested_tensor import NestedTensor  # noqa: E402
from tqdm import tqdm  # noqa: E402

from ..nodes.native.joined.model import join_models, streams_of  # noqa: E402
from ..nodes.native.joined.prompts import join_prompts  # noqa: E402
from ..tests.comfyui.native_pack import joined_models as models  # noqa: E402

CFG = 3.0
WIDER = {  # so that a step takes a third of a second and more
    "wan21": ({"dim": 512, "ffn_dim": 2048, "freq_dim": 64, "num_heads": 8}, (1, 16, 4, 24, 24)),
    "hunyuan15": (
        {"hidden_size": 512, "num_heads": 8, "mlp_ratio": 4.0, "axes_dim": [16, 24, 24], "depth": 2, "depth_single_blocks": 2},
        (1, 32, 4, 12, 12),
    ),
    "stable_audio_3": ({"embed_dim": 384, "num_heads": 6, "depth": 4}, (1, 256, 160)),
    "ace_step_15": ({
        "hidden_size": 256, "num_dit_layers": 4, "num_heads": 4, "num_kv_heads": 2, "head_dim": 64,
        "intermediate_size": 1024,
    }, (1, 64, 160)),
}  # fmt: skip


def widen(kind: str) -> str:
    """Adds a wider model of a kind to the small ones. Returns its name."""
    network, sizes = WIDER[kind]
    small = models.KINDS[kind]
    models.KINDS[kind] = small._replace(network=small.network | network, sizes=sizes)
    return kind


class Bench:
    """A pair, and what runs it."""

    def __init__(self, video: str, audio: str, steps: int) -> None:
        self.models = models.load(video, 1), models.load(audio, 2)
        self.joined = join_models(*self.models)
        self.prompts = [[models.prompt(kind, seed, values=False) for kind in (video, audio)] for seed in (3, 5)]
        self.latents = [models.latent(kind) for kind in (video, audio)]
        chance = torch.Generator().manual_seed(1)
        self.noise = [torch.randn(each.shape, generator=chance) for each in self.latents]
        sigmas = comfy.samplers.calculate_sigmas(self.joined.get_model_object("model_sampling"), "simple", steps)
        self.sigmas = [stream.sigma(sigmas) for stream in streams_of(self.joined) or ()]

    def run_joined(self) -> Any:
        positive, negative = (join_prompts(*each) for each in self.prompts)
        return _sample(self.joined, (positive, negative), NestedTensor(self.noise), NestedTensor(self.latents), self.sigmas[0])

    def run_alone(self, index: int) -> Any:
        prompts = [each[index] for each in self.prompts]
        return _sample(self.models[index], prompts, self.noise[index], self.latents[index], self.sigmas[index])

    def tasks(self) -> dict[str, Callable[[], Any]]:
        return {"joined": self.run_joined, "video": lambda: self.run_alone(0), "audio": lambda: self.run_alone(1)}


def _sample(model: Any, prompts: Any, noise: Any, latent: Any, sigmas: Any) -> Any:
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*prompts)
    guider.set_cfg(CFG)
    return guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, None, None, True, 1)


def measure(tasks: Mapping[str, Callable[[], Any]], rounds: int, label: str) -> dict[str, list[float]]:
    """Runs all tasks in every round, in a random order, after two that warm up. Returns CPU seconds by task."""
    order, took = random.Random(0), {name: [] for name in tasks}  # type: ignore[var-annotated]
    for _ in tqdm(range(rounds + 2), desc=label):
        for name in order.sample(list(tasks), len(tasks)):
            began = time.process_time()
            tasks[name]()
            took[name].append(time.process_time() - began)
    return {name: seconds[2:] for name, seconds in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="+", help="VIDEO+AUDIO")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="of a run with wide models")
    parser.add_argument("--small-steps", type=int, required=True, help="of a run with small models")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for pair in args.pairs:
        small = measure(Bench(*pair.split("+"), steps=args.small_steps).tasks(), args.runs, f"{pair}, small")
        wide = measure(Bench(*map(widen, pair.split("+")), steps=args.steps).tasks(), args.runs, pair)
        found[pair] = {"small": small, "wide": wide}
    args.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
