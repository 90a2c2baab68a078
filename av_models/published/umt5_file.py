"""Loads the encoder of UMT5 from a single file, such as ComfyUI's umt5_xxl_fp16.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import UMT5Config, UMT5EncoderModel

from ..checkpoint import Shape
from .t5_file import ATTENTION, BIAS, FEED_FORWARD, LAST, WORDS, load_encoder_tensors
from .tensor_files import read_header


def is_encoder(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names holds all of UMT5's encoder. T5 has no bias in its second block."""
    return {WORDS, BIAS.format(1), LAST} <= shapes.keys()


def load_encoder(path: Path, dtype: torch.dtype) -> UMT5EncoderModel:
    """Load the encoder. Raises ValueError, in one line, if tensors are missing or do not fit."""
    with torch.device("meta"):
        encoder = UMT5EncoderModel(config_of(read_header(path).shapes))
    return load_encoder_tensors(encoder, path, dtype)


def config_of(shapes: Mapping[str, Shape]) -> UMT5Config:
    """Return the configuration, read off the tensors' shapes."""
    words, width = shapes[WORDS]
    buckets, heads = shapes[BIAS.format(0)]
    return UMT5Config(
        vocab_size=words, d_model=width, num_heads=heads, d_kv=shapes[f"{ATTENTION.format(0)}q.weight"][0] // heads,
        d_ff=shapes[f"{FEED_FORWARD}wi_0.weight"][0], relative_attention_num_buckets=buckets,
        num_layers=sum(name.endswith("SelfAttention.q.weight") and name.startswith("encoder.") for name in shapes),
        is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
