"""LTX-2's model that doubles the size of a latent, as ComfyUI builds it, small and with random weights."""

from __future__ import annotations

import comfy.model_patcher
import comfy.ops
import torch
from comfy.ldm.lightricks.latent_upsampler import LatentUpsampler


class TinyUpscaler:
    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT_UPSCALE_MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    def make(self, seed):
        model = LatentUpsampler(comfy.ops.manual_cast, in_channels=128, mid_channels=32, num_blocks_per_stage=1)
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=chance) * (1 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.3))
        cpu = torch.device("cpu")
        return (comfy.model_patcher.CoreModelPatcher(model, load_device=cpu, offload_device=cpu),)
