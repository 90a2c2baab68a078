"""Loads Wan's VAE, of version 2.1 or 2.2, from a single file.

ComfyUI's wan_2.1_vae.safetensors and wan2.2_vae.safetensors have the names of Wan's authors; other files have those of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan

from ..checkpoint import Shape, open_tensors, read_shapes
from .named_tensors import FileTensors, load_named

MARKS = {
    "decoder.upsamples.0.upsamples.0.residual.0.gamma": "2.2", "decoder.upsamples.0.residual.0.gamma": "2.1",
    "decoder.up_blocks.0.resnets.0.norm1.gamma": "diffusers",
}  # fmt: skip
CHANNELS = {"2.1": 16, "2.2": 48}
MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375,
    -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899,
    -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573,
    -0.0548, -0.1681, -0.0667,
)  # fmt: skip
STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip
"""Of the latents of version 2.2, by channel; they are not in the file. diffusers has those of version 2.1."""

RESIDUAL = {"norm1.": "residual.0.", "conv1.": "residual.2.", "norm2.": "residual.3.", "conv2.": "residual.6.",
            "conv_shortcut.": "shortcut."}  # fmt: skip
ENDS = {
    "post_quant_conv.": "conv2.", "quant_conv.": "conv1.", "encoder.conv_in.": "encoder.conv1.",
    "decoder.conv_in.": "decoder.conv1.", "norm_out.": "head.0.", "conv_out.": "head.2.", "mid_block.resnets.0.": "middle.0.",
    "mid_block.attentions.0.": "middle.1.", "mid_block.resnets.1.": "middle.2.",
}  # fmt: skip
LEVEL = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(?:resnets\.(\d+)|(?:down|up)sampler)\.(.+)")
FLAT_LEVEL = re.compile(r"(?:encoder\.down|decoder\.up)_blocks\.(\d+)(?:\.(?:resnets\.(\d+)|upsamplers\.0))?\.(.+)")
RESNETS = {"down": 2, "up": 3}


def version_of(shapes: Mapping[str, Shape]) -> str | None:
    """Return which VAE a file with tensors of these names and shapes holds: "2.1", "2.2" or, for any other, None."""
    found = next((version for mark, version in MARKS.items() if mark in shapes), None)
    version, last = ("2.2" if _is_residual(shapes) else "2.1", "post_quant_conv") if found == "diffusers" else (found, "conv2")
    fits = version is not None and shapes.get(f"{last}.weight", ())[:1] == (CHANNELS[version],)
    return version if fits else None


def is_wan_vae(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names and shapes holds Wan 2.2's VAE."""
    return version_of(shapes) == "2.2"


def load_wan_vae(path: Path, dtype: torch.dtype | None) -> AutoencoderKLWan:
    """Load the VAE. dtype: of the weights; None: as stored.

    Raises ValueError, in one line, if tensors are missing or do not fit.
    """
    shapes = read_shapes(path)
    if version_of(shapes) is None:
        raise ValueError(f"{path} does not hold Wan's VAE; use wan_2.1_vae.safetensors or wan2.2_vae.safetensors")
    with torch.device("meta"):
        vae = AutoencoderKLWan(**config_of(shapes))
    with open_tensors(path) as file:
        tensors = FileTensors(file, path)
        own_names = "post_quant_conv.weight" in shapes
        name_of = str if own_names else published_name if version_of(shapes) == "2.2" else published_name_2_1
        names = {own: name_of(own) for own in vae.state_dict()}
        return load_named(vae, tensors, names, lambda name, x: x if dtype is None else x.to(dtype))


def config_of(shapes: Mapping[str, Shape]) -> dict:
    """Return the arguments of AutoencoderKLWan. The widths are those of the file."""
    first, last = (
        ("encoder.conv_in", "decoder.norm_out") if "encoder.conv_in.weight" in shapes else ("encoder.conv1", "decoder.head.0")
    )
    widths = {"base_dim": shapes[f"{first}.weight"][0], "decoder_base_dim": shapes[f"{last}.gamma"][0]}
    if version_of(shapes) == "2.1":
        return widths | {"z_dim": CHANNELS["2.1"]}
    return widths | {
        "z_dim": CHANNELS["2.2"], "latents_mean": list(MEAN), "latents_std": list(STD), "is_residual": True, "in_channels": 12,
        "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16,
    }  # fmt: skip


def _is_residual(shapes: Mapping[str, Shape]) -> bool:
    return "encoder.down_blocks.0.resnets.0.norm1.gamma" in shapes


def published_name(name: str) -> str:
    """Return the name that Wan's authors gave to a tensor of diffusers' AutoencoderKLWan with residual blocks."""
    if level := LEVEL.fullmatch(name):
        half, direction, block, resnet, rest = level.groups()
        inner = RESNETS[direction] if resnet is None else resnet
        return _renamed(f"{half}.{direction}samples.{block}.{direction}samples.{inner}.{rest}", RESIDUAL)
    return _renamed(_renamed(name, ENDS), RESIDUAL if "middle." in _renamed(name, ENDS) else {})


def published_name_2_1(name: str) -> str:
    """Return the name that Wan's authors gave to a tensor of diffusers' AutoencoderKLWan without residual blocks."""
    if level := FLAT_LEVEL.fullmatch(name):
        block, resnet, rest = level.groups()
        if name.startswith("encoder"):
            return _renamed(f"encoder.downsamples.{block}.{rest}", RESIDUAL)
        number = int(block) * (RESNETS["up"] + 1) + (RESNETS["up"] if resnet is None else int(resnet))
        return _renamed(f"decoder.upsamples.{number}.{rest}", RESIDUAL)
    return published_name(name)


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    for own, published in parts.items():
        if name.startswith(own) or f".{own}" in name:
            return name.replace(own, published, 1)
    return name
