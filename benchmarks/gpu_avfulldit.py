"""Measures AVFullDiT of Wan 2.2 TI2V-5B and TangoFlux with random weights on one GPU: 5 s of 704 × 1280 (see `gpu_run`).

python -m duet_av.benchmarks.gpu_avfulldit [--strategy NAME …] [--steps N] [--small]

`cfg` has two coupled rows, `joint_cfg` a coupled and a cut one, `joint_cfg_star` a coupled one and the two experts alone.
--small: a tiny pair, which also runs on a CPU, to try the script.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import nn

from ..av_models.contract import AVCondition, Condition, LatentShape
from ..av_models.experts.tangoflux import TangoFluxExpert
from ..av_models.experts.wan import WanExpert
from ..av_models.guidance import Guidance
from ..av_models.joint.avfulldit import AVFullDiT
from ..av_models.joint.sync_positions import SyncPositions
from ..av_models.shapes import AudioStride, VideoStride
from .gpu_run import Run, main, to_bf16

JOINT_BLOCKS = 18
SYNC = SyncPositions(VideoStride(4, 16, 48), AudioStride(2048, 64), 44100, Fraction(24))
WAN: dict[str, Any] = {
    "num_attention_heads": 24, "attention_head_dim": 128, "in_channels": 48, "out_channels": 48, "text_dim": 4096, "freq_dim": 256,
    "ffn_dim": 14336, "num_layers": 30,
}  # fmt: skip
TANGOFLUX: dict[str, Any] = {
    "in_channels": 64, "num_layers": 6, "num_single_layers": 18, "attention_head_dim": 128, "num_attention_heads": 8,
    "joint_attention_dim": 1024, "pooled_projection_dim": 1024,
}  # fmt: skip
LATENTS = LatentShape((1, 48, 31, 44, 80), (1, 64, 109))  # 121 frames of 704 × 1280 and their audio
SMALL_LATENTS = LatentShape((1, 48, 3, 4, 4), (1, 64, 11))
WORDS = {"video": 512, "audio": 24}


def make(small: bool, device: torch.device, guidance: Guidance) -> Run:
    """Returns the run of a pair with random weights."""
    wan, flux, joint_blocks = WAN, TANGOFLUX, JOINT_BLOCKS
    if small:
        wan = WAN | {"num_attention_heads": 2, "ffn_dim": 512, "num_layers": 3}
        flux, joint_blocks = TANGOFLUX | {"num_attention_heads": 1, "num_layers": 1, "num_single_layers": 2}, 2
    torch.manual_seed(0)
    with torch.device(device):
        video, audio = WanTransformer3DModel(**wan), FluxTransformer2DModel(**flux)
        others = nn.Linear(1024, 1024), StableAudioNumberConditioner(1024, 0, 30, 256)
        tangoflux = TangoFluxExpert(to_bf16(audio), *(each.to(torch.bfloat16) for each in others))
        network = AVFullDiT(WanExpert(to_bf16(video)), tangoflux, joint_blocks, sync=SYNC).eval().requires_grad_(False)
    network.new_heads.to(torch.bfloat16)
    return Run(device, network, make_prompts(device), SMALL_LATENTS if small else LATENTS, 5.0, guidance)


def make_prompts(device: torch.device) -> tuple[AVCondition, AVCondition]:
    """Returns random prompts of the widths of UMT5-XXL and FLAN-T5-large."""
    generator = torch.Generator().manual_seed(1)

    def text(stream: str, width: int) -> Condition:
        tokens = torch.randn(1, WORDS[stream], width, generator=generator, dtype=torch.bfloat16)
        return Condition(tokens, torch.ones(1, WORDS[stream], dtype=torch.bool)).to(device)

    return tuple(AVCondition(text("video", 4096), text("audio", 1024)) for _ in range(2))  # type: ignore[return-value]


if __name__ == "__main__":
    main(__doc__, make, ("joint_cfg_star", "joint_cfg", "cfg"))
