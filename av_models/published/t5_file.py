"""Loads the encoder of a T5 (also FLAN-T5 and UMT5) from safetensors files: one like ComfyUI's, a part of another, or shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel

from ..checkpoint import Shape
from .named_tensors import ScaledTensors, load_named
from .tensor_files import Shards, read_header, tensor_paths

E = TypeVar("E", bound=nn.Module)
WORDS, LAST = "shared.weight", "encoder.final_layer_norm.weight"
SAME_WORDS = "encoder.embed_tokens.weight"  # the name that some files have for the same table
ATTENTION = "encoder.block.{}.layer.0.SelfAttention."
BIAS = f"{ATTENTION}relative_attention_bias.weight"
FEED_FORWARD = "encoder.block.0.layer.1.DenseReluDense."
NEEDED = (LAST, BIAS.format(0), f"{ATTENTION.format(0)}q.weight", f"{FEED_FORWARD}wo.weight")


def t5_width(shapes: Mapping[str, Shape], prefix: str = "") -> int | None:
    """Return the width of the T5 whose encoder is in a file with tensors of these names; None if there is none.

    T5 has a relative position bias in its first block alone, UMT5 in each block.
    """
    if any(name not in shapes for name in _needed(shapes, prefix)) or prefix + BIAS.format(1) in shapes:
        return None
    return shapes[prefix + LAST][0]


def load_t5(path: Path, dtype: torch.dtype, prefix: str = "") -> T5EncoderModel:
    """Load the encoder from a file or a folder of shards. Its configuration is read off the shapes.

    dtype: of the weights. prefix: of the tensors' names. Raises ValueError, in one line, if tensors are missing or do not fit.
    """
    shapes = read_header(path).shapes
    missing = [name for name in _needed(shapes, prefix) if name not in shapes]
    if missing or t5_width(shapes, prefix) is None:
        lack = f"lacks {missing[0]}" if missing else "has the position biases of UMT5"
        raise ValueError(f"{path} {lack}, so that it is not the encoder of a T5; use another file")
    with torch.device("meta"):
        encoder = T5EncoderModel(config_of(shapes, prefix))
    return load_encoder_tensors(encoder, path, dtype, prefix)


def load_encoder_tensors(encoder: E, path: Path, dtype: torch.dtype, prefix: str = "") -> E:
    """Give an encoder, which may be on torch's meta device, the tensors of a file or a folder of shards, in `dtype`.

    The table of words is stored once, and the encoder shares it.
    """
    names = {name: prefix + name for name, _ in encoder.named_parameters()}
    names[WORDS] = _words(read_header(path).shapes, prefix)
    load_named(encoder, ScaledTensors(Shards(tensor_paths(path)), path), names, lambda name, x: x.to(dtype))
    encoder.get_submodule("encoder").embed_tokens = encoder.get_submodule("shared")
    return encoder


def config_of(shapes: Mapping[str, Shape], prefix: str = "") -> T5Config:
    """Return the configuration: T5 1.1 and FLAN-T5 have a gated feed-forward of two matrices, T5 1.0 one of one matrix."""
    words, width = shapes[_words(shapes, prefix)]
    buckets, heads = shapes[prefix + BIAS.format(0)]
    gated = f"{prefix}{FEED_FORWARD}wi_0.weight" in shapes
    return T5Config(
        vocab_size=words, d_model=width, num_heads=heads, relative_attention_num_buckets=buckets,
        d_kv=shapes[f"{prefix}{ATTENTION.format(0)}q.weight"][0] // heads, d_ff=shapes[f"{prefix}{FEED_FORWARD}wo.weight"][1],
        num_layers=sum(name.startswith(f"{prefix}encoder.") and name.endswith("SelfAttention.q.weight") for name in shapes),
        feed_forward_proj="gated-gelu" if gated else "relu", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip


def _words(shapes: Mapping[str, Shape], prefix: str) -> str:
    """Return the name in the file of the table of words."""
    same = prefix + SAME_WORDS
    return same if same in shapes and prefix + WORDS not in shapes else prefix + WORDS


def _needed(shapes: Mapping[str, Shape], prefix: str) -> list[str]:
    return [_words(shapes, prefix), *(prefix + name for name in NEEDED)]
