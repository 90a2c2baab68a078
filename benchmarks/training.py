"""Time of a training step on a CPU in bfloat16 relative to float32: ratios of medians of interleaved runs.

python -m duet_av.benchmarks.training [--runs N] [--threads N]

Times a joint step of the hearing study (loss and gradients) with compiled blocks: in bfloat16 with torch's fused attention, and
in bfloat16 with plain attention, which `bf16 = true` uses on a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..av_models.training.loop import Schedule, precision
from ..bounce.training.stages import make_stage, read_config
from .guidance import interleaved

CONFIG = Path(__file__).parent.parent / "bounce" / "configs" / "hearing.toml"
CLIPS = 64
BF16 = Schedule(steps=1, lr=1.0, bf16=True)
WAYS: dict[str, Callable[[], AbstractContextManager]] = {
    "float32": nullcontext,
    "bfloat16, fused attention": partial(torch.autocast, "cpu", torch.bfloat16),
    "bfloat16": partial(precision, BF16, torch.device("cpu")),
}


def step_of(way: Callable[[], AbstractContextManager], cache: Path) -> Callable[[], None]:
    """Return a function that computes a loss and its gradients. Each way has its own stage, compiled for its precision."""
    config = read_config(CONFIG)
    config["data"] |= {"clips": CLIPS, "cache": str(cache)}
    stage = make_stage(config, CONFIG.parent, 1, cache / "unused")

    def step() -> None:
        torch.manual_seed(1)
        with way():
            loss, _ = stage.loss(0)
        loss.backward()
        stage.model.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch._dynamo.config.recompile_limit = 64  # every way compiles the same code again
    with TemporaryDirectory() as cache:
        took = interleaved({name: step_of(way, Path(cache)) for name, way in WAYS.items()}, args.runs, "training")
    ratios = {name: round(each / took["float32"], 3) for name, each in took.items()}
    sys.stdout.write(json.dumps(ratios | {"threads": args.threads}) + "\n")


if __name__ == "__main__":
    main()
