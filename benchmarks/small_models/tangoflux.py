"""A tiny random TangoFlux: the files of its authors, with their names, and the tokenizer of its text encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderOobleck, FluxTransformer2DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from ...av_models.published.experts.tangoflux_files import rotary_axes
from .ovi import random_tensors, save, t5_tokenizer

MODEL, VAE, TOKENIZER, SETTINGS = "tangoflux.safetensors", "vae.safetensors", "tokenizer", "config.json"
TEXT_WIDTH, NUMBER_WIDTH = 32, 256


@dataclass(frozen=True)
class Sizes:
    """The sizes of a small TangoFlux. dual, single: number of blocks of each kind. steps: latent steps of every clip."""

    dual: int = 1
    single: int = 2
    heads: int = 1
    head_size: int = 32
    channels: int = 4
    steps: int = 645


SIZES = Sizes()


def build(folder: Path, seed: int = 0, sizes: Sizes = SIZES) -> None:
    """Write the transformer with its text encoder, the VAE, the settings and the tokenizer to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = t5_tokenizer()
    words.model_max_length = 512
    save(folder / MODEL, model_tensors(seed, sizes, len(words)))
    save(folder / VAE, random_tensors(_shapes(vae_of(sizes)), seed + 1))
    words.save_pretrained(folder / TOKENIZER)
    (folder / SETTINGS).write_text(json.dumps(settings_of(sizes)))


def settings_of(sizes: Sizes = SIZES) -> dict:
    """Return the settings as the authors write them."""
    return {
        "num_layers": sizes.dual, "num_single_layers": sizes.single, "in_channels": sizes.channels,
        "attention_head_dim": sizes.head_size, "joint_attention_dim": TEXT_WIDTH, "num_attention_heads": sizes.heads,
        "audio_seq_len": sizes.steps, "max_duration": 30, "uncondition": False, "text_encoder_name": "google/flan-t5-large",
    }  # fmt: skip


def text_settings(words: int) -> T5Config:
    """Return the settings of the text encoder, a small FLAN-T5."""
    return T5Config(
        vocab_size=words, d_model=TEXT_WIDTH, d_kv=8, d_ff=40, num_layers=2, num_heads=4, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False,
    )  # fmt: skip


def model_tensors(seed: int, sizes: Sizes, words: int) -> dict[str, Tensor]:
    """Return the tensors of tangoflux.safetensors."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(
            in_channels=sizes.channels, num_layers=sizes.dual, num_single_layers=sizes.single, attention_head_dim=sizes.head_size,
            num_attention_heads=sizes.heads, joint_attention_dim=TEXT_WIDTH, pooled_projection_dim=TEXT_WIDTH,
            axes_dims_rope=rotary_axes(sizes.head_size),
        )  # fmt: skip
        parts: dict[str, nn.Module] = {
            "transformer.": transformer, "fc.": nn.Sequential(nn.Linear(TEXT_WIDTH, TEXT_WIDTH)),
            "duration_emebdder.": StableAudioNumberConditioner(TEXT_WIDTH, 0, 30, NUMBER_WIDTH),
            "text_encoder.": T5EncoderModel(text_settings(words)),
        }  # fmt: skip
    shapes = {prefix + name: shape for prefix, part in parts.items() for name, shape in _shapes(part).items()}
    shapes.pop("text_encoder.encoder.embed_tokens.weight")  # the table of words, which is stored once
    found = random_tensors(shapes, seed)
    frequencies = "duration_emebdder.time_positional_embedding.0.weights"
    return found | {frequencies: found[frequencies] * 100}


def vae_of(sizes: Sizes) -> AutoencoderOobleck:
    """Return an Oobleck without weights, of the compression of the real one."""
    with torch.device("meta"):
        return AutoencoderOobleck(
            encoder_hidden_size=2 * sizes.channels, channel_multiples=[1] * 5, decoder_channels=2,
            decoder_input_channels=sizes.channels,
        )  # fmt: skip


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in network.state_dict().items()}
