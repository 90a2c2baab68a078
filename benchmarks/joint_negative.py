"""Measures what a row without joint layers costs in an AVFullDiT: the negative of JointCFG*, beside the two experts alone.

python -m duet_av.benchmarks.joint_negative [--runs N]

A pair of Wan's and TangoFlux's classes of medium size with random weights, on one thread, in CPU time. All cases run in turn, in a
random order. The aim is 1.00: such a row costs no more than both experts' own networks. In a call with two rows it is compared with
half of what the experts take for two rows, as each row of a larger batch takes a little longer on a CPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import nn

from ..av_models.contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind
from ..av_models.experts.tangoflux import TangoFluxExpert
from ..av_models.experts.wan import WanExpert
from ..av_models.joint.avfulldit import AVFullDiT
from .joint_models import run_in_turn
from .ratios import cell, ratio_of

WAN: dict[str, Any] = {
    "num_attention_heads": 6, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16, "text_dim": 64, "freq_dim": 64,
    "ffn_dim": 1536, "num_layers": 8,
}  # fmt: skip
FLUX: dict[str, Any] = {
    "in_channels": 16, "num_layers": 2, "num_single_layers": 4, "attention_head_dim": 64, "num_attention_heads": 2,
    "joint_attention_dim": 64, "pooled_projection_dim": 64, "axes_dims_rope": (8, 28, 28),
}  # fmt: skip
JOINT_BLOCKS, AIM = 4, 1.0
VIDEO, AUDIO, WORDS = (1, 16, 6, 28, 28), (1, 16, 130), 24
FULL, REMOVED = CouplingKind.FULL, CouplingKind.REMOVED


def make_pair() -> AVFullDiT:
    """Returns a pair with random weights."""
    torch.manual_seed(0)
    audio = TangoFluxExpert(FluxTransformer2DModel(**FLUX), nn.Linear(64, 64), StableAudioNumberConditioner(64, 0, 30, 64))
    return AVFullDiT(WanExpert(WanTransformer3DModel(**WAN)), audio, JOINT_BLOCKS).eval().requires_grad_(False)


def make_tasks(pair: AVFullDiT) -> dict[str, Callable[[], Any]]:
    """Returns what is measured: a removed row alone and with a coupled one beside it, two of these, and both experts alone."""
    latent = AVLatent(torch.randn(VIDEO), torch.randn(AUDIO))
    text = Condition(torch.randn(1, WORDS, 64), torch.ones(1, WORDS, dtype=torch.bool))
    cond, t = AVCondition(text, text), AVTime(torch.full((1,), 0.7), torch.full((1,), 0.7))

    def predict(*kinds: CouplingKind) -> Callable[[], Any]:
        rows = len(kinds)
        args = AVLatent.cat([latent] * rows), AVTime.cat([t] * rows), AVCondition.cat([cond] * rows)
        return lambda: pair.predict(*args, kinds)

    experts: tuple[Any, Any] = pair.video, pair.audio

    def run_experts(rows: int) -> Callable[[], Any]:
        x, times, text = AVLatent.cat([latent] * rows), AVTime.cat([t] * rows), AVCondition.cat([cond] * rows)
        return lambda: (experts[0](x.video, times.video, text.video), experts[1](x.audio, times.audio, text.audio))

    return {
        "removed": predict(REMOVED), "experts": run_experts(1), "full and removed": predict(FULL, REMOVED),
        "two full": predict(FULL, FULL), "experts, two rows": run_experts(2),
    }  # fmt: skip


def lines(took: dict[str, list[float]]) -> list[str]:
    """Returns a table of what a removed row costs, as ratios to both experts alone."""
    halves = {name: [each / 2 for each in took[name]] for name in ("two full", "experts, two rows")}
    beside = [both - full for both, full in zip(took["full and removed"], halves["two full"], strict=True)]
    rows = {
        "in a call of its own": ratio_of(took["removed"], took["experts"]),
        "beside a coupled row, in one call": ratio_of(beside, halves["experts, two rows"]),
    }
    table = [f"| {name} | {cell(ratio, AIM)} |" for name, ratio in rows.items()]
    return ["| a row without joint layers | ÷ both experts alone |", "|---|---|", *table]


@torch.no_grad()
def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24, metavar="N", help="rounds (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(lines(run_in_turn(make_tasks(make_pair()), args.runs, "AVFullDiT"))))


if __name__ == "__main__":
    main()
