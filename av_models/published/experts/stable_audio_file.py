"""The authors' checkpoint of Stable Audio Open 1.0, which ComfyUI has in `checkpoints`, for diffusers' classes.

stable-audio-tools names the network `model.model.…`, the VAE `pretransform.model.…`, and what encodes seconds `conditioner.…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ...checkpoint import Shape
from ..tensor_files import read_header

PREFIXES = ("model.model.", "model.diffusion_model.", "")
MARKS = ("transformer.layers.0.self_attn.to_qkv.weight", "transformer.rotary_pos_emb.inv_freq", "to_cond_embed.0.weight")
SECONDS = "conditioner.conditioners.{}.embedder.embedding."
NUMBERS = {"start_number_conditioner": "seconds_start", "end_number_conditioner": "seconds_total"}
OTHER = "a Stable Audio network without the seconds of version 1.0"
LATENT_STEPS = 1024
LONGEST_SECONDS = 512
WORDS = (
    ("time_proj", "timestep_features"), ("timestep_proj", "to_timestep_embed"), ("global_proj", "to_global_embed"),
    ("cross_attention_proj", "to_cond_embed"),
)  # fmt: skip
IN_BLOCKS = (
    ("attn1", "self_attn"), ("attn2", "cross_attn"), ("norm1", "pre_norm"), ("norm2", "cross_attend_norm"), ("norm3", "ff_norm"),
    ("ff.net", "ff.ff"), ("to_out.0", "to_out"),
)  # fmt: skip


def prefix_of(shapes: Mapping[str, Shape]) -> str | None:
    """Return the prefix of the network's names; None if there is no Stable Audio of the first generation."""
    found = (prefix for prefix in PREFIXES if all(f"{prefix}{mark}" in shapes for mark in MARKS))
    prefix = next(found, None)
    newer = prefix is not None and f"{prefix}transformer.global_cond_embedder.0.weight" in shapes  # Stable Audio 3
    return None if newer else prefix


def has_seconds(shapes: Mapping[str, Shape]) -> bool:
    """Return whether the start and the length of a clip are encoded, as in Stable Audio Open 1.0."""
    return all(f"{SECONDS.format(name)}1.weight" in shapes for name in NUMBERS.values())


class Checkpoint:
    """A checkpoint of Stable Audio Open 1.0. Raises ValueError, in one line, for another model."""

    def __init__(self, path: Path) -> None:
        self.path, self.shapes = path, read_header(path).shapes
        prefix = prefix_of(self.shapes)
        if prefix is None or not has_seconds(self.shapes):
            raise ValueError(f"{path} holds {OTHER}; use model.safetensors of stabilityai/stable-audio-open-1.0")
        self.prefix = prefix

    @cached_property
    def config(self) -> dict[str, Any]:
        """The arguments of StableAudioDiTModel, read off the shapes."""
        head = 4 * self._shape("transformer.rotary_pos_emb.inv_freq")[0]  # half of a head is rotated, in pairs
        width, channels = self._shape("transformer.project_in.weight")
        text_width, text_input = self._shape("to_cond_embed.0.weight")
        blocks = {
            name.split("layers.")[1].split(".")[0] for name in self.shapes if name.startswith(f"{self.prefix}transformer.layers.")
        }
        return {
            "sample_size": LATENT_STEPS, "in_channels": channels, "num_layers": len(blocks), "attention_head_dim": head,
            "num_attention_heads": width // head,
            "num_key_value_attention_heads": self._shape("transformer.layers.0.cross_attn.to_kv.weight")[0] // 2 // head,
            "out_channels": self._shape("transformer.project_out.weight")[0], "cross_attention_dim": text_width,
            "time_proj_dim": 2 * self._shape("timestep_features.weight")[0],
            "global_states_input_dim": self._shape("to_global_embed.0.weight")[1], "cross_attention_input_dim": text_input,
        }  # fmt: skip

    def _shape(self, name: str) -> Shape:
        if f"{self.prefix}{name}" not in self.shapes:
            raise ValueError(f"{self.path} lacks {self.prefix}{name}, a tensor of Stable Audio; download it again")
        return self.shapes[f"{self.prefix}{name}"]


def published_name(own: str) -> str:
    """Return the authors' name, without a prefix, of a tensor of StableAudioDiTModel."""
    if own.startswith("transformer_blocks."):
        name = _replaced(own.replace("transformer_blocks", "transformer.layers"), IN_BLOCKS)
        for part, whole in (("attn.to_q.", "attn.to_qkv."), ("attn.to_k.", "attn.to_qkv."), ("attn.to_v.", "attn.to_qkv.")):
            name = name.replace(f"self_{part}", f"self_{whole}")
        name = name.replace("cross_attn.to_k.", "cross_attn.to_kv.").replace("cross_attn.to_v.", "cross_attn.to_kv.")
        return name.replace("norm.weight", "norm.gamma").replace("norm.bias", "norm.beta")
    if own.startswith(("proj_in", "proj_out")):
        return "transformer." + own.replace("proj", "project")
    return _replaced(own, WORDS)


def split(own: str, tensor: Tensor) -> Tensor:
    """Return the part of a stored tensor that a tensor of StableAudioDiTModel is: the authors store q, k and v as one."""
    if own == "time_proj.weight":
        return tensor.squeeze(1)
    kind = own.removesuffix(".weight").rpartition(".to_")[2]
    parts = {"attn1": "qkv", "attn2": "kv"}.get(own.split(".")[2] if own.startswith("transformer_blocks.") else "", "")
    return tensor.chunk(len(parts))[parts.index(kind)] if kind and kind in parts else tensor


def _replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for ours, theirs in pairs:
        name = name.replace(ours, theirs)
    return name


def seconds_name(own: str) -> str:
    """Return the authors' name of a tensor of StableAudioProjectionModel."""
    number, _, rest = own.partition(".time_positional_embedding.")
    return SECONDS.format(NUMBERS[number]) + rest
