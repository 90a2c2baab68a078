"""Loads SAME, the VAE of Stable Audio 3, from diffusers' folder or from the authors' checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderSAME
from torch import Tensor

from ..checkpoint import Shape
from .folder import DiffusersFolder
from .named_tensors import WeightNormTensors, load_named
from .tensor_files import Shards, read_header, tensor_paths

PREFIXES = ("pretransform.model.", "")
MARK = "decoder.layers.3.transformers.0.pre_norm.alpha"
BLOCK = "encoder.layers.0."
STRIDE, AUDIO_CHANNELS = 16, 2  # which no shape tells
LARGE_DEPTH, SINUSOIDAL = 12, 8  # the decoder of SAME-L has so many blocks with a sine
IN_BLOCKS = (
    ("norm_attn", "pre_norm"), ("norm_ff", "ff_norm"), ("attn", "self_attn"), ("ff.proj_in", "ff.ff.0.proj"),
    ("ff.proj_out", "ff.ff.2"),
)  # fmt: skip
PARTS = [0, 3, 1, 4, 2]  # the authors store q, k, v, q', k'; diffusers q, q', k, k', v


def find_prefix(shapes: Mapping[str, Shape]) -> str | None:
    """Return the prefix of the names of a SAME; None if there is none."""
    return next((prefix for prefix in PREFIXES if f"{prefix}{MARK}" in shapes), None)


def load_same(path: Path, dtype: torch.dtype | None = None) -> AutoencoderSAME:
    """Load a SAME from a file, or from diffusers' folder of it or of a pipeline with it.

    dtype: of the weights; None: as stored. Raises FileNotFoundError or ValueError, with one line, for files that are missing,
    incomplete, or of another network.
    """
    path = path / "vae" if (path / "vae").is_dir() else path
    if (path / "config.json").is_file():
        return DiffusersFolder(path, keep_dtype=dtype is None).load("", AutoencoderSAME, dtype)
    if not path.exists():
        raise FileNotFoundError(f"there is no VAE {path}; check the name, or download it")
    shapes = read_header(path).shapes
    prefix = find_prefix(shapes)
    if prefix is None:
        raise ValueError(f"{path} holds no SAME, the VAE of Stable Audio 3; use the checkpoint, or the folder vae")
    network = AutoencoderSAME(**config_of(shapes, prefix, path))
    names = {own: prefix + published_name(own) for own in network.state_dict()}
    tensors = WeightNormTensors(Shards(tensor_paths(path)), path)
    names = {own: _stored(name, shapes) for own, name in names.items()}
    return load_named(network, tensors, names, lambda own, x: in_order(own, x if dtype is None else x.to(dtype)))


def config_of(shapes: Mapping[str, Shape], prefix: str, path: Path) -> dict[str, Any]:
    """Return the arguments of AutoencoderSAME, read off the shapes. Raises ValueError for that of Stable Audio 3 Small."""

    def shape(name: str) -> Shape:
        found = shapes.get(prefix + name)
        if found is None:
            raise ValueError(f"{path} lacks {prefix}{name}, a tensor of SAME; download it again")
        return found

    if shapes.get(_stored(f"{prefix}decoder.layers.3.mapping.weight_v", shapes), (0, 0, 1))[-1] != 1:
        raise ValueError(f"{path} holds the VAE of Stable Audio 3 Small, which diffusers lacks; use Stable Audio 3 Medium")
    width, channels, _ = shapes[_stored(f"{prefix}{BLOCK}mapping.weight_v", shapes)]
    depth = len({name for name in shapes if name.startswith(f"{prefix}{BLOCK}transformers.") and name.endswith("pre_norm.alpha")})
    inner = shape(f"{BLOCK}transformers.0.ff.ff.2.weight")[1]
    return {
        "audio_channels": AUDIO_CHANNELS, "patch_size": channels // AUDIO_CHANNELS, "encoder_channels": width,
        "encoder_c_mults": [1], "encoder_strides": [STRIDE], "encoder_transformer_depths": [depth],
        "latent_dim": shape("bottleneck.bias")[1], "ff_mult": inner // width,
        "dim_heads": shape(f"{BLOCK}transformers.0.self_attn.q_norm.gamma")[0],
        "use_differential_attention": shape(f"{BLOCK}transformers.0.self_attn.to_qkv.weight")[0] == 5 * width,
        "decoder_sinusoidal_blocks": [SINUSOIDAL if depth == LARGE_DEPTH else 0],
    }  # fmt: skip


def published_name(own: str) -> str:
    """Return the authors' name, without a prefix, of a tensor of AutoencoderSAME with one block on each side."""
    name = own.replace("bottleneck.scale", "bottleneck.scaling_factor").replace("decoder.blocks.0", "decoder.layers.3")
    name = name.replace("encoder.blocks.0", "encoder.layers.0").replace("encoder.proj", "encoder.layers.2")
    name = name.replace("decoder.proj", "decoder.layers.1")
    for ours, theirs in IN_BLOCKS:
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def in_order(own: str, tensor: Tensor) -> Tensor:
    """Return a stored tensor with its parts in the order of diffusers."""
    if not own.endswith("to_qkv.weight") or tensor.shape[0] != len(PARTS) * tensor.shape[1]:
        return tensor
    parts = tensor.chunk(len(PARTS))
    return torch.cat([parts[part] for part in PARTS])


def _stored(name: str, shapes: Mapping[str, Shape]) -> str:
    """Return the name in the file of a direction or a length, of either kind of weight normalization."""
    for end, number in ((".weight_g", 0), (".weight_v", 1)):
        other = f"{name.removesuffix(end)}.parametrizations.weight.original{number}"
        if name.endswith(end) and name not in shapes and other in shapes:
            return other
    return name
