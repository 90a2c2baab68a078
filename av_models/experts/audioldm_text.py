"""What AudioLDM is told of a text, by diffusers' own pipeline: CLAP's embedding of it, of unit length."""

from __future__ import annotations

import torch
from diffusers import AudioLDMPipeline

from ..contract import Condition


@torch.no_grad()
def text_condition(pipeline: AudioLDMPipeline, prompt: str) -> Condition:
    """The condition of one prompt, as `vector` [1, D] with no tokens. ∅ is the empty prompt's, as the pipeline has it."""
    vector = pipeline._encode_prompt(prompt, pipeline.unet.device, 1, False)
    return Condition(vector[:, None][:, :0], torch.ones(1, 0, dtype=torch.bool, device=vector.device), vector=vector)
