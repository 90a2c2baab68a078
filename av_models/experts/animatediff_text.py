"""What AnimateDiff is told of a text, by diffusers' own pipeline: Stable Diffusion's CLIP tokens of it."""

from __future__ import annotations

import torch
from diffusers import AnimateDiffPipeline

from ..contract import Condition


@torch.no_grad()
def text_condition(pipeline: AnimateDiffPipeline, prompt: str) -> Condition:
    """The condition of one prompt, as `tokens` [1, L, D]. ∅ is the empty prompt's, as the pipeline has it."""
    tokens, _ = pipeline.encode_prompt(prompt, pipeline.unet.device, 1, False)
    return Condition(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
