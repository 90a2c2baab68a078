"""A tiny random Stable Audio Open 1.0: a diffusers folder, or the authors' checkpoint and T5, named as ComfyUI users have them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioPipeline, StableAudioProjectionModel
from diffusers.utils import is_torchsde_available
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from ...av_models.published.experts import stable_audio_file as names
from ...av_models.published.experts.stable_audio_load import make_scheduler
from ...av_models.published.oobleck_file import original_name
from .ovi import save, t5_tokenizer

CHECKPOINT, TEXT_ENCODER = Path("checkpoints/stable-audio-open-1.0.safetensors"), Path("text_encoders/t5-base.safetensors")
TEXT_WIDTH, CHANNELS, STEPS = 64, 4, 256
RATIOS = [4, 4, 8]


def build(folder: Path, seed: int = 0) -> None:
    """Write a diffusers folder."""
    pipeline = make_pipeline(seed)
    pipeline.save_pretrained(folder)
    if not is_torchsde_available():
        _write_scheduler(folder)


def build_files(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float16) -> None:
    """Write the checkpoint and the text encoder with its tokenizer to a folder `models` of ComfyUI.

    The weights are those of `build`; a checkpoint always has 1024 latent steps.
    """
    pipeline = make_pipeline(seed)
    for file in (CHECKPOINT, TEXT_ENCODER):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    save(folder / CHECKPOINT, checkpoint_tensors(pipeline), dtype)
    save(folder / TEXT_ENCODER, {name: x for name, x in pipeline.text_encoder.named_parameters()}, dtype)
    pipeline.tokenizer.save_pretrained((folder / TEXT_ENCODER).parent / "tokenizer")


def make_pipeline(seed: int = 0) -> StableAudioPipeline:
    """Return the pipeline, whose scheduler is None without the package torchsde."""
    tokenizer = t5_tokenizer(model_max_length=128)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = StableAudioDiTModel(
            sample_size=STEPS, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=2, num_attention_heads=2,
            num_key_value_attention_heads=1, cross_attention_dim=TEXT_WIDTH, global_states_input_dim=2 * TEXT_WIDTH,
            cross_attention_input_dim=TEXT_WIDTH,
        )  # fmt: skip
        vae = AutoencoderOobleck(8, RATIOS, [1, 2, 2], 8, CHANNELS, 2, 44100)
        config = T5Config(
            vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.0
        )
        text, projection = T5EncoderModel(config), StableAudioProjectionModel(TEXT_WIDTH, TEXT_WIDTH, 0, 512)
    for network in (vae, text, projection, transformer):
        network.eval().requires_grad_(False)
    pipeline = StableAudioPipeline(vae, text, projection, tokenizer, transformer, make_scheduler(Path()))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def checkpoint_tensors(pipeline: StableAudioPipeline) -> dict[str, Tensor]:
    """Return the tensors of the authors' checkpoint."""
    parts: dict[str, list[Tensor]] = {}
    for own, x in pipeline.transformer.state_dict().items():
        parts.setdefault(f"model.model.{names.published_name(own)}", []).append(x[:, None] if own == "time_proj.weight" else x)
    found = {name: torch.cat(same) for name, same in parts.items()}  # diffusers has q, k and v in this order
    found["model.model.transformer.rotary_pos_emb.inv_freq"] = 10000.0 ** (-torch.arange(0, 32, 2) / 32)
    found |= {names.seconds_name(own): x for own, x in pipeline.projection_model.state_dict().items()}
    for own, x in pipeline.vae.state_dict().items():
        name = "pretransform.model." + original_name(own, len(RATIOS))
        found[name] = x.flatten() if own.endswith(("alpha", "beta")) else x
    return found


def _write_scheduler(folder: Path) -> None:
    config = {"_class_name": "CosineDPMSolverMultistepScheduler", "sigma_min": 0.3, "sigma_max": 500}
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
