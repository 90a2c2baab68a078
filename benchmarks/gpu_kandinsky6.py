"""Measures Kandinsky 6 Lite with random weights on one GPU: 5 s of 512 × 768 at 24 frames per second (see `gpu_run`).

python -m duet_av.benchmarks.gpu_kandinsky6 [--strategy joint_cfg] [--steps N] [--small]

--small: a tiny network, which also runs on a CPU, to try the script.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import Kandinsky6Transformer3DModel

from ..av_models.contract import AVCondition, Condition, LatentShape
from ..av_models.guidance import Guidance
from ..av_models.joint.kandinsky6 import Kandinsky6
from .gpu_run import Run, main, to_bf16

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


def make(small: bool, device: torch.device, guidance: Guidance) -> Run:
    """Returns the run of a network with random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        transformer = Kandinsky6Transformer3DModel(**SHARED, **(SMALL if small else LITE))
    network = Kandinsky6(to_bf16(transformer)).eval()
    return Run(device, network, make_prompts(device), SMALL_LATENTS if small else LATENTS, 5.0, guidance)


def make_prompts(device: torch.device) -> tuple[AVCondition, AVCondition]:
    """Returns random prompts of the widths of Qwen2.5-VL and CLIP."""
    generator = torch.Generator().manual_seed(1)

    def text() -> Condition:
        tokens = torch.randn(1, WORDS, TEXT_WIDTH, generator=generator)
        mask = torch.ones(1, WORDS, dtype=torch.bool)
        return Condition(tokens, mask, torch.randn(1, POOLED_WIDTH, generator=generator)).to(device)

    return tuple(AVCondition(one := text(), one) for _ in range(2))  # type: ignore[return-value]


if __name__ == "__main__":
    main(__doc__, make, ("joint_cfg",))
