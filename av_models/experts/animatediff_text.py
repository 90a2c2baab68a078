"""Encodes prompts for AnimateDiff with the text encoder of diffusers' pipeline."""

from __future__ import annotations

import torch
from diffusers import AnimateDiffPipeline

from ..contract import Condition


@torch.no_grad()
def encode_prompt(pipeline: AnimateDiffPipeline, prompt: str) -> Condition:
    """Encode a prompt to `tokens` [1, L, D] with CLIP. As in the pipeline, ∅ is the encoding of the empty prompt."""
    tokens, _ = pipeline.encode_prompt(prompt, pipeline.unet.device, 1, False)
    return Condition(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
