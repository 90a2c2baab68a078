"""Loads Stability AI's single-file checkpoints of Stable Video Diffusion, such as svd.safetensors and svd_xt.safetensors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from ..checkpoint import format_keys, open_tensors
from .loaded_expert import LoadedExpert
from .svd import build_expert
from .svd_names import DECODER, UNUSED, VISION, unet_name, vae_name, vision_name

IMAGE_DECODER = f"{DECODER}decoder.conv_out.bias"  # in svd_image_decoder.safetensors too, which lacks the temporal layer
TEMPORAL_DECODER = f"{DECODER}decoder.conv_out.time_mix_conv.bias"
FRAMES, XT_FRAMES = 14, 25


@dataclass(frozen=True)
class Architecture:
    """The configs of the published networks, which are not in the file. The two models differ in their number of frames only.

    unet, vae, vision: arguments of UNetSpatioTemporalConditionModel, AutoencoderKLTemporalDecoder and CLIPVisionConfig.
    """

    unet: dict[str, Any] = field(default_factory=dict)  # the defaults of diffusers
    vae: dict[str, Any] = field(default_factory=lambda: {
        "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 4,
    })  # fmt: skip
    vision: dict[str, Any] = field(default_factory=lambda: {  # ViT-H/14
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14,
        "projection_dim": 1024, "hidden_act": "gelu",
    })  # fmt: skip


SVD = Architecture()


def from_single_file(path: str | Path, keep_dtype: bool = False, architecture: Architecture = SVD) -> LoadedExpert:
    """Load the UNet and the VAE of a single-file checkpoint. The image encoder is loaded with the first image.

    keep_dtype: keep the dtype of the stored weights; else convert them to float32.
    Raises FileNotFoundError for a missing file, and ValueError, with one line, if tensor names or shapes do not match.
    """
    path = Path(path)
    with open_tensors(path) as file:
        names = set(file.keys())
    if IMAGE_DECODER in names and TEMPORAL_DECODER not in names:
        raise ValueError(f"{path} has the image decoder, not the temporal decoder; use svd.safetensors or svd_xt.safetensors")
    frames = XT_FRAMES if "xt" in path.stem.lower() else FRAMES
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(**{"num_frames": frames} | architecture.unet)
        vae = AutoencoderKLTemporalDecoder(**architecture.vae)
        vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**architecture.vision))
    named = {unet: _unet_names(unet), vae: _vae_names(vae), vision: {name: vision_name(name) for name in vision.state_dict()}}
    _check_names(path, names, {published for names_of in named.values() for published in names_of.values()})

    def tensors(network: nn.Module) -> dict[str, Tensor]:
        return _read_tensors(path, network, named[network], keep_dtype)

    for network in (unet, vae):
        network.load_state_dict(tensors(network), assign=True)

    def load_image_encoder() -> nn.Module:
        image_encoder = CLIPVisionModelWithProjection.from_pretrained(None, config=vision.config, state_dict=tensors(vision))
        return image_encoder.eval().requires_grad_(False)

    for network in (unet, vae):
        network.eval().requires_grad_(False)
    return build_expert(unet, vae, load_image_encoder, CLIPImageProcessor())


def _unet_names(unet: UNetSpatioTemporalConditionModel) -> dict[str, str]:
    with_attention = {i for i, block in enumerate(unet.up_blocks) if hasattr(block, "attentions")}
    layers = len(unet.down_blocks[0].resnets)
    return {name: unet_name(name, layers, with_attention) for name in unet.state_dict()}


def _vae_names(vae: AutoencoderKLTemporalDecoder) -> dict[str, str]:
    return {name: vae_name(name, len(vae.decoder.up_blocks)) for name in vae.state_dict()}


def _check_names(path: Path, found: set[str], needed: set[str]) -> None:
    """Raise ValueError if the file lacks a needed name, or has a name that is neither needed nor in UNUSED."""
    missing = sorted(needed - found)
    unexpected = sorted(name for name in found - needed if name.startswith(VISION) or not name.startswith(UNUSED))
    if missing or unexpected:
        raise ValueError(
            f"{path} is not a Stable Video Diffusion checkpoint: missing {format_keys(missing)}, "
            f"unexpected {format_keys(unexpected)}; use svd.safetensors or svd_xt.safetensors as published"
        )


def _read_tensors(path: Path, network: nn.Module, names: dict[str, str], keep_dtype: bool) -> dict[str, Tensor]:
    """Read the tensors of `network`, by its own names; names: the file's name of each."""
    tensors = {}
    with open_tensors(path) as file:
        for name, empty in network.state_dict().items():
            value = _convert_layout(name, file.get_tensor(names[name]), empty.ndim)
            if value.shape != empty.shape:
                found, expected = ("×".join(map(str, x.shape)) for x in (value, empty))
                raise ValueError(f"{path}: {names[name]} has shape {found}, expected {expected} ({name}); download the file again")
            tensors[name] = value if keep_dtype else value.float()
    return tensors


def _convert_layout(name: str, value: Tensor, dimensions: int) -> Tensor:
    """Convert a published tensor to the layout of diffusers and transformers."""
    if fused := re.search(r"self_attn\.([qkv])_proj", name):
        return value.chunk(3)["qkv".index(fused[1])].clone()
    if name == "visual_projection.weight":
        return value.T.contiguous()
    if value.ndim == 4 and dimensions == 2:  # attention projections stored as 1 × 1 convolutions
        return value[:, :, 0, 0]
    return value
