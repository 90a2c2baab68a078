"""What AudioLDM2 is told of a text, by diffusers' own pipeline: CLAP and T5, a projection, and GPT-2's continuation."""

from __future__ import annotations

import torch
from diffusers import AudioLDM2Pipeline

from ..contract import Condition


@torch.no_grad()
def text_condition(pipeline: AudioLDM2Pipeline, prompt: str, negative_prompt: str | None = None) -> list[Condition]:
    """The condition of a prompt and, where one is given, of a negative one: as long as the prompt, as the pipeline has it."""
    guided = negative_prompt is not None
    t5, mask, generated = pipeline.encode_prompt(prompt, pipeline.unet.device, 1, guided, negative_prompt=negative_prompt)
    rows = [
        Condition(g, torch.ones(g.shape[:2], dtype=torch.bool, device=g.device), second=Condition(t, m.bool()))
        for g, t, m in zip(generated.split(1), t5.split(1), mask.split(1))
    ]
    return rows[::-1]  # the pipeline puts the negative first
