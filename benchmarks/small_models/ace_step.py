"""A tiny random ACE-Step 1.5: a diffusers folder."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AceStepConditionEncoder,
    AceStepPipeline,
    AceStepTransformer1DModel,
    AutoencoderOobleck,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import Qwen3Config, Qwen3Model

from .kandinsky6 import qwen_tokenizer

WIDTH, TEXT_WIDTH, CHANNELS = 32, 16, 4
SIZES = {
    "hidden_size": WIDTH, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "sliding_window": 8,
}  # fmt: skip


def build(folder: Path, seed: int = 0, turbo: bool = False) -> None:
    """Write a diffusers folder. turbo: of the distilled weights."""
    make_pipeline(seed, turbo).save_pretrained(folder)


def make_pipeline(seed: int = 0, turbo: bool = False) -> AceStepPipeline:
    """Return the pipeline."""
    tokenizer = qwen_tokenizer()
    text = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = AceStepTransformer1DModel(
            **SIZES, num_hidden_layers=2, in_channels=3 * CHANNELS, audio_acoustic_hidden_dim=CHANNELS, is_turbo=turbo
        )
        condition = AceStepConditionEncoder(
            **SIZES, text_hidden_dim=TEXT_WIDTH, timbre_hidden_dim=CHANNELS, num_lyric_encoder_hidden_layers=2,
            num_timbre_encoder_hidden_layers=2,
        )  # fmt: skip
        condition.silence_latent.normal_()
        vae = AutoencoderOobleck(8, [2, 4, 4, 6, 10], [1, 1, 1, 1, 1], 8, CHANNELS, 2, 48000)
        encoder = Qwen3Model(text)
    for network in (vae, encoder, transformer, condition):
        network.eval().requires_grad_(False)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1)
    pipeline = AceStepPipeline(vae, encoder, tokenizer, transformer, condition, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
