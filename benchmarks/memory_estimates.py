"""Compares the estimates of memory with the most that sampling and decoding take, on a CPU.

python -m duet_av.benchmarks.memory_estimates
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from ..av_models.contract import AVCondition, AVLatent, AVTime, Condition, Coupling, CouplingKind, LatentShape, denoise
from ..av_models.joint_model import JointModel
from ..av_models.memory import estimate_decoding
from ..av_models.memory_plan import estimate_sampling
from .peak_memory import forget_peak, peak, resident

WIDTH, TEXT, POOLED = 512, 64, 32  # of the video, and of the two text encoders
TRANSFORMER = {
    "model_dim": WIDTH, "ff_dim": 4 * WIDTH, "num_text_blocks": 1, "num_visual_blocks": 2, "time_dim": 128,
    "axes_dims": (16, 24, 24), "model_dim_a": WIDTH // 2, "ff_dim_a": 2 * WIDTH, "time_dim_a": 128, "axes_dims_a": (64,),
    "in_text_dim": TEXT, "in_text_dim2": POOLED, "visual_cond": True, "cross_gates": True, "ca_rope": True,
}  # fmt: skip


def kandinsky6(dtype: torch.dtype, rows: int) -> dict[str, float]:
    """Runs a Kandinsky 6 of 512 units, which otherwise is as the published ones are."""
    from diffusers import Kandinsky6Transformer3DModel

    from ..av_models.joint.kandinsky6 import Kandinsky6

    denoiser: Any = Kandinsky6(Kandinsky6Transformer3DModel(**TRANSFORMER).to(dtype).eval())
    latents = LatentShape((1, 16, 10, 40, 40), (1, 20, 200))
    text = Condition(torch.randn(rows, 50, TEXT), torch.ones(rows, 50, dtype=torch.bool), torch.randn(rows, POOLED))
    model: Any = type("Model", (), {"denoiser": denoiser, "limits": denoiser.limits})
    return sample(model, latents, rows, AVCondition(text, text))


def bounce_sampling(rows: int) -> dict[str, float]:
    """Runs Bounce on a long clip."""
    model, latents = _bounce()
    condition = model.encode("a red ball", "metal ball")
    return sample(model, latents, rows, AVCondition(condition.video.expand(rows), condition.audio.expand(rows)))


def bounce_decoding() -> dict[str, float]:
    """Decodes a long clip of Bounce."""
    model, latents = _bounce()
    latent = torch.randn(latents.video)
    return compare(lambda: model.video_codec.decode(latent), estimate_decoding(model.video_codec, latents.video))


def _bounce() -> tuple[JointModel, LatentShape]:
    from ..bounce.shipped import BOUNCE, load_joint_model

    model = load_joint_model(BOUNCE)
    return model, model.latent_shape(model.shape(frames=49, height=256, width=256))


def sample(model: Any, latents: LatentShape, rows: int, condition: AVCondition) -> dict[str, float]:
    """Compares one network call."""
    latent = AVLatent(torch.randn(rows, *latents.video[1:]), torch.randn(rows, *latents.audio[1:]))
    call = latent, AVTime(torch.ones(rows), torch.ones(rows)), condition, [Coupling(CouplingKind.FULL)] * rows
    return compare(lambda: denoise(model.denoiser, *call), estimate_sampling(model, latents, rows))


@torch.no_grad()
def compare(run: Callable[[], Any], estimate: int) -> dict[str, float]:
    """Returns the most memory that `run` takes, and the estimate, in MB."""
    before = resident()
    forget_peak()
    run()
    measured = peak() - before
    return {"measured_mb": round(measured / 1e6), "estimate_mb": round(estimate / 1e6), "ratio": round(estimate / measured, 2)}


CASES: dict[str, Callable[[], dict[str, float]]] = {
    "kandinsky6, float32, 1 row": lambda: kandinsky6(torch.float32, 1),
    "kandinsky6, float32, 2 rows": lambda: kandinsky6(torch.float32, 2),
    "kandinsky6, bfloat16, 2 rows": lambda: kandinsky6(torch.bfloat16, 2),
    "bounce, 1 row": lambda: bounce_sampling(1),
    "bounce, 4 rows": lambda: bounce_sampling(4),
    "bounce, decoding": bounce_decoding,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        sys.stdout.write(json.dumps(CASES[args.case]()))
        return
    for case in CASES:  # each in a new process
        command = [sys.executable, "-m", "duet_av.benchmarks.memory_estimates", "--case", case]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sys.stdout.write(json.dumps({"case": case, **json.loads(done.stdout)}) + "\n")


if __name__ == "__main__":
    main()
