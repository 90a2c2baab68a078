"""Loads the encoder of UMT5 from a single file, such as ComfyUI's umt5_xxl_fp16.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import UMT5Config, UMT5EncoderModel

from ...checkpoint import Shape, open_tensors, read_shapes
from ..named_tensors import ScaledTensors, load_named

WORDS = "shared.weight"
BLOCK = "encoder.block.{}.layer.0.SelfAttention."
BIAS = f"{BLOCK}relative_attention_bias.weight"  # T5 has it in the first block alone


def is_encoder(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names holds all of UMT5's encoder."""
    return {WORDS, BIAS.format(1), "encoder.final_layer_norm.weight"} <= shapes.keys()


def load_encoder(path: Path, dtype: torch.dtype) -> UMT5EncoderModel:
    """Load the encoder. Raises ValueError, in one line, if tensors are missing or do not fit."""
    with torch.device("meta"):
        encoder = UMT5EncoderModel(config_of(read_shapes(path)))
    names = {name: name for name, _ in encoder.named_parameters()}  # without the table of words that the encoder shares
    with open_tensors(path) as file:
        load_named(encoder, ScaledTensors(file, path), names, lambda name, x: x.to(dtype))
    encoder.encoder.embed_tokens = encoder.shared
    return encoder


def config_of(shapes: Mapping[str, Shape]) -> UMT5Config:
    """Return the configuration, read off the tensors' shapes."""
    words, width = shapes[WORDS]
    buckets, heads = shapes[BIAS.format(0)]
    return UMT5Config(
        vocab_size=words, d_model=width, num_heads=heads, d_kv=shapes[f"{BLOCK.format(0)}q.weight"][0] // heads,
        d_ff=shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0], relative_attention_num_buckets=buckets,
        num_layers=sum(name.endswith("SelfAttention.q.weight") and name.startswith("encoder.") for name in shapes),
        is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
