"""The authors' checkpoint of Stable Audio 3, which ComfyUI has in `checkpoints`, for diffusers' classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoint import Shape
from ..tensor_files import read_header
from .stable_audio_file import PREFIXES

MARKS = ("transformer.global_cond_embedder.0.weight", "transformer.layers.0.self_attn.to_qkv.weight", "to_cond_embed.0.weight")
SECONDS = "conditioner.conditioners.seconds_total.embedder.embedding.1."
PADDING = "conditioner.conditioners.prompt.padding_embedding"
IN_TRANSFORMER = ("memory_tokens", "rotary_pos_emb.", "global_cond_embedder.")


def prefix_of(shapes: Mapping[str, Shape]) -> str | None:
    """Return the prefix of the network's names; None if there is no Stable Audio 3."""
    return next((prefix for prefix in PREFIXES if all(f"{prefix}{mark}" in shapes for mark in MARKS)), None)


class Checkpoint:
    """A checkpoint of Stable Audio 3. Raises ValueError, in one line, for another model, or one that is not complete."""

    def __init__(self, path: Path) -> None:
        self.path, self.shapes = path, read_header(path).shapes
        prefix = prefix_of(self.shapes)
        missing = next((name for name in (f"{SECONDS}weight", PADDING) if name not in self.shapes), None)
        if prefix is None or missing:
            raise ValueError(f"{path} lacks {missing or MARKS[0]} of Stable Audio 3; use the whole checkpoint")
        self.prefix = prefix

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of StableAudio3DiTModel, read off the shapes."""
        block, layers = "transformer.layers.0.", f"{self.prefix}transformer.layers."
        width, features = self._shape("to_timestep_embed.0.weight")
        channels = self._shape("postprocess_conv.weight")[0]
        return {
            "io_channels": channels, "patch_size": self._shape("transformer.project_in.weight")[1] // channels, "embed_dim": width,
            "depth": len({name.removeprefix(layers).split(".")[0] for name in self.shapes if name.startswith(layers)}),
            "num_heads": width // self._shape(f"{block}self_attn.q_norm.gamma")[0],
            "cond_token_dim": self._shape("to_cond_embed.0.weight")[1],
            "global_cond_dim": self._shape("to_global_embed.0.weight")[1],
            "local_add_cond_dim": self._shape(f"{block}to_local_embed.0.weight")[1], "timestep_features_dim": features,
            "ff_mult": self._shape(f"{block}ff.ff.2.weight")[1] / width,
            "num_memory_tokens": self.shapes.get(f"{self.prefix}transformer.memory_tokens", (0,))[0],
            "use_differential_attention": self._shape(f"{block}self_attn.to_qkv.weight")[0] == 5 * width,
        }  # fmt: skip

    def stored_name(self, own: str) -> str:
        """Return the name in the file of a tensor of StableAudio3DiTModel."""
        return PADDING if own == "prompt_padding_embedding" else self.prefix + published_name(own)

    def _shape(self, name: str) -> Shape:
        if f"{self.prefix}{name}" not in self.shapes:
            raise ValueError(f"{self.path} lacks {self.prefix}{name}, a tensor of Stable Audio 3; download it again")
        return self.shapes[f"{self.prefix}{name}"]


def published_name(own: str) -> str:
    """Return the authors' name, without a prefix, of a tensor of StableAudio3DiTModel."""
    if own.startswith("transformer_blocks."):
        name = own.replace("transformer_blocks", "transformer.layers")
        return name.replace(".ff.proj_in.", ".ff.ff.0.proj.").replace(".ff.proj_out.", ".ff.ff.2.")
    if own.startswith(("proj_in", "proj_out")):
        return "transformer." + own.replace("proj", "project")
    return f"transformer.{own}" if own.startswith(IN_TRANSFORMER) else own
