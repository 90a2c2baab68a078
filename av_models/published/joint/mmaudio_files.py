"""Loads MMAudio's VAE and vocoder for 16 kHz from safetensors files with the names of MMAudio's authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import MMAudioVAE, MMAudioVocoder
from diffusers.models.autoencoders.autoencoder_mmaudio import normalize
from torch import Tensor

from ...build_from_card import Allowance
from ...checkpoint import Shape, open_tensors, read_shapes
from ...codecs.mmaudio16 import BigVGAN16, MMAudioVAE16, make_mel_converter
from ..named_tensors import FileTensors, WeightNormTensors, load_named

BINS = 80  # mel bands of the model for 16 kHz; that for 44.1 kHz has 128
VAE_MARK = "decoder.learnable_gain"
VOCODER_MARK = "activation_post.downsample.lowpass.filter"


def is_vae(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names and shapes holds the VAE for 16 kHz."""
    return VAE_MARK in shapes and shapes.get("data_mean", ()) == (1, BINS, 1)


def is_vocoder(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names and shapes holds the vocoder for 16 kHz."""
    return VOCODER_MARK in shapes and _input_width(shapes) == BINS


def load_vae(path: Path) -> MMAudioVAE:
    """Load the VAE, in float32. Raises ValueError, in one line, if tensors are missing or do not fit."""
    shapes = read_shapes(path)
    with torch.device("meta"), Allowance(shapes):
        vae = MMAudioVAE16(BINS, shapes["decoder.conv_in.weight"][1], shapes["encoder.conv_in.weight"][0])
    vae.mel_converter = make_mel_converter(BINS)  # its tables are not in the file
    names = {own: own.removeprefix("vae.") for own in vae.state_dict() if own.startswith("vae.")}
    with open_tensors(path) as file:
        return load_named(vae, FileTensors(file, path), names, _normalized)


def load_vocoder(path: Path) -> MMAudioVocoder:
    """Load the vocoder, in float32. Raises ValueError, in one line, if tensors are missing or do not fit."""
    width = read_shapes(path)["conv_pre.bias"][0]
    with torch.device("meta"):
        vocoder = BigVGAN16(BINS, width)
    names = {own: own.replace("conv_post.0.", "conv_post.") for own in vocoder.state_dict()}
    with open_tensors(path) as file:
        return load_named(vocoder, WeightNormTensors(file, path), names, lambda name, x: x.float())


def _normalized(name: str, tensor: Tensor) -> Tensor:
    """Normalize the weights of convolutions, which the authors' code does once after loading (arXiv 2312.02696, equation 66)."""
    tensor = tensor.float()
    return normalize(tensor) / tensor[0].numel() ** 0.5 if name.endswith(".weight") else tensor


def _input_width(shapes: Mapping[str, Shape]) -> int:
    names = ("conv_pre.weight", "conv_pre.weight_v", "conv_pre.parametrizations.weight.original1")
    return next((shapes[name][1] for name in names if name in shapes), 0)
