"""Stable Video Diffusion's single file, as Stability AI publishes it: svd.safetensors, svd_xt.safetensors and their like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from ..checkpoint import open_tensors, some
from .loaded_expert import LoadedExpert
from .svd import assembled
from .svd_names import DECODER, UNUSED, VISION, unet_name, vae_name, vision_name

IMAGE_DECODER = f"{DECODER}decoder.conv_out.bias"  # of svd_image_decoder.safetensors, which has no layer over time after it
TEMPORAL_DECODER = f"{DECODER}decoder.conv_out.time_mix_conv.bias"
FRAMES, XT_FRAMES = 14, 25


@dataclass(frozen=True)
class Architecture:
    """The configurations of the published networks, which the file does not hold. Both models differ in frames alone."""

    unet: dict[str, Any] = field(default_factory=dict)  # diffusers' defaults are Stable Video Diffusion's
    vae: dict[str, Any] = field(default_factory=lambda: {
        "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 4,
    })  # fmt: skip
    vision: dict[str, Any] = field(default_factory=lambda: {  # ViT-H/14
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14,
        "projection_dim": 1024, "hidden_act": "gelu",
    })  # fmt: skip


SVD = Architecture()


def from_single_file(path: str | Path, own_precision: bool = False, architecture: Architecture = SVD) -> LoadedExpert:
    """`own_precision`: as it is stored; else float32. Raises ValueError, in one line, where names or sizes do not fit."""
    path = Path(path)
    with open_tensors(path) as file:
        names = set(file.keys())
    if IMAGE_DECODER in names and TEMPORAL_DECODER not in names:
        raise ValueError(f"{path} decodes every frame by itself; give svd.safetensors or svd_xt.safetensors")
    frames = XT_FRAMES if "xt" in path.stem.lower() else FRAMES
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(**{"num_frames": frames} | architecture.unet)
        vae = AutoencoderKLTemporalDecoder(**architecture.vae)
        vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**architecture.vision))
    named = {unet: _unet_names(unet), vae: _vae_names(vae), vision: {name: vision_name(name) for name in vision.state_dict()}}
    _check_names(path, names, {published for of in named.values() for published in of.values()})

    def tensors(network: nn.Module) -> dict[str, Tensor]:
        return _tensors(path, network, named[network], own_precision)

    for network in (unet, vae):
        network.load_state_dict(tensors(network), assign=True)

    def load_vision() -> nn.Module:
        made = CLIPVisionModelWithProjection.from_pretrained(None, config=vision.config, state_dict=tensors(vision))
        return made.eval().requires_grad_(False)

    return assembled(unet.eval().requires_grad_(False), vae.eval().requires_grad_(False), load_vision, CLIPImageProcessor())


def _unet_names(unet: UNetSpatioTemporalConditionModel) -> dict[str, str]:
    attended = {i for i, block in enumerate(unet.up_blocks) if hasattr(block, "attentions")}
    layers = len(unet.down_blocks[0].resnets)
    return {name: unet_name(name, layers, attended) for name in unet.state_dict()}


def _vae_names(vae: AutoencoderKLTemporalDecoder) -> dict[str, str]:
    return {name: vae_name(name, len(vae.decoder.up_blocks)) for name in vae.state_dict()}


def _check_names(path: Path, found: set[str], wanted: set[str]) -> None:
    """Raises ValueError where the file lacks a name, or has one that is neither wanted nor known to be of no use."""
    missing = sorted(wanted - found)
    unexpected = sorted(name for name in found - wanted if name.startswith(VISION) or not name.startswith(UNUSED))
    if missing or unexpected:
        raise ValueError(
            f"{path} is no Stable Video Diffusion: missing {some(missing)}, unexpected {some(unexpected)}; "
            "give svd.safetensors or svd_xt.safetensors as published"
        )


def _tensors(path: Path, network: nn.Module, names: dict[str, str], own_precision: bool) -> dict[str, Tensor]:
    """The file's tensors as `network` has them."""
    tensors = {}
    with open_tensors(path) as file:
        for name, empty in network.state_dict().items():
            value = _laid_out(name, file.get_tensor(names[name]), empty.ndim)
            if value.shape != empty.shape:
                found, expected = ("×".join(map(str, x.shape)) for x in (value, empty))
                raise ValueError(f"{path}: {names[name]} is {found}, {name} takes {expected}; get the file again")
            tensors[name] = value if own_precision else value.float()
    return tensors


def _laid_out(name: str, value: Tensor, dimensions: int) -> Tensor:
    """A published tensor as diffusers and transformers lay it out."""
    if fused := re.search(r"self_attn\.([qkv])_proj", name):
        return value.chunk(3)["qkv".index(fused[1])].clone()
    if name == "visual_projection.weight":
        return value.T.contiguous()
    if value.ndim == 4 and dimensions == 2:  # attention by convolutions of 1 × 1
        return value[:, :, 0, 0]
    return value
