"""Encodes prompts for AudioLDM2 with the text encoders of diffusers' pipeline: CLAP, T5, a projection and GPT-2."""

from __future__ import annotations

import torch
from diffusers import AudioLDM2Pipeline

from ..contract import Condition


@torch.no_grad()
def encode_prompt(pipeline: AudioLDM2Pipeline, prompt: str, negative_prompt: str | None = None) -> list[Condition]:
    """Encode a prompt and, if given, a negative prompt.

    Each condition has `tokens` (GPT-2's) and `second` (T5's). Returns [prompt] or [prompt, negative prompt]. As in the
    pipeline, the negative prompt is padded or cut to the length of the prompt.
    """
    guided = negative_prompt is not None
    t5, mask, generated = pipeline.encode_prompt(prompt, pipeline.unet.device, 1, guided, negative_prompt=negative_prompt)
    rows = [
        Condition(g, torch.ones(g.shape[:2], dtype=torch.bool, device=g.device), second=Condition(t, m.bool()))
        for g, t, m in zip(generated.split(1), t5.split(1), mask.split(1))
    ]
    return rows[::-1]  # the pipeline returns the negative prompt first
