"""Encodes prompts for AudioLDM with the text encoder of diffusers' pipeline."""

from __future__ import annotations

import torch
from diffusers import AudioLDMPipeline

from ..contract import Condition


@torch.no_grad()
def encode_prompt(pipeline: AudioLDMPipeline, prompt: str) -> Condition:
    """Encode a prompt to `vector` [1, D], CLAP's embedding of unit length, with no tokens.

    As in the pipeline, ∅ is the encoding of the empty prompt.
    """
    vector = pipeline._encode_prompt(prompt, pipeline.unet.device, 1, False)
    return Condition(vector[:, None][:, :0], torch.ones(1, 0, dtype=torch.bool, device=vector.device), vector=vector)
