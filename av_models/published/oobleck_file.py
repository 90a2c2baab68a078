"""Loads Oobleck, the VAE of Stable Audio and TangoFlux, from diffusers' files or those of its authors, alone or in a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor

from ..card_fields import read_table
from ..checkpoint import Shape
from .named_tensors import FileTensors, load_named
from .tensor_files import Shards, read_header, tensor_paths

PREFIXES = ("", "vae.", "pretransform.model.", "first_stage_model.", "autoencoder.")
ENDS = ("weight_v", "parametrizations.weight.original1", "weight")
"""The names of a weight's direction. The last one is of weights that were merged with their lengths."""
UNIT = {"snake1": "0", "conv1": "1", "snake2": "2", "conv2": "3"}
BLOCK = {
    "encoder": {"res_unit1": "0", "res_unit2": "1", "res_unit3": "2", "snake1": "3", "conv1": "4"},
    "decoder": {"snake1": "0", "conv_t1": "1", "res_unit1": "2", "res_unit2": "3", "res_unit3": "4"},
}


class OobleckTensors(FileTensors):
    """The tensors of an Oobleck by the names of diffusers' AutoencoderOobleck. Raises ValueError if the file has none.

    original: whether the file has the names of its authors.
    """

    def __init__(self, path: Path) -> None:
        self.shapes = read_header(path).shapes
        super().__init__(Shards(tensor_paths(path)), path)
        mark = _find_mark(self.shapes)
        if mark is None:
            raise ValueError(f"{path} holds no Oobleck VAE; use the file vae.safetensors of declare-lab/TangoFlux")
        self.prefix, self.original = mark
        self.blocks = 0
        while self.has(f"encoder.block.{self.blocks}.snake1.alpha"):
            self.blocks += 1

    def stored_name(self, name: str) -> str:
        """Return the name in the file of a tensor of AutoencoderOobleck, without its kind of weight normalization."""
        return self.prefix + (original_name(name, self.blocks) if self.original else name)

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def read(self, name: str) -> Tensor:
        found = self._find(name) or self.stored_name(name)
        value = super().read(found)
        if name.endswith("weight_g") and found.endswith(".weight"):
            value = value.float().flatten(1).norm(dim=1).view(-1, 1, 1)
        return value.view(1, -1, 1) if name.endswith(("alpha", "beta")) and value.ndim == 1 else value

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor. Raises ValueError, with one line, if it is missing."""
        found = self._find(name)
        if found is None:
            raise ValueError(f"{self.path} lacks {self.stored_name(name)}, a tensor of Oobleck; download it again")
        return self.shapes[found]

    def _find(self, name: str) -> str | None:
        return next((each for each in _spellings(self.stored_name(name)) if each in self.shapes), None)


def is_oobleck(shapes: Mapping[str, Shape]) -> bool:
    """Return whether a file with tensors of these names holds an Oobleck, alone or among others."""
    return _find_mark(shapes) is not None


def load_oobleck(path: Path, dtype: torch.dtype | None = None) -> AutoencoderOobleck:
    """Load an Oobleck from a safetensors file, or from diffusers' folder of it or of a pipeline with it.

    dtype: of the weights; None: as stored. The configuration is read off the shapes; the sample rate is that of a folder's config,
    else 44100 Hz.
    Raises FileNotFoundError or ValueError, with one line, for files that are missing, incomplete, or of another network.
    """
    path = path / "vae" if (path / "vae").is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"there is no VAE {path}; check the name, or download it")
    tensors = OobleckTensors(path)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about how diffusers normalizes weights
        vae = AutoencoderOobleck(**config_of(tensors), **_sample_rate(path))
    names = {name: name for name in vae.state_dict()}
    return load_named(vae, tensors, names, lambda name, x: x if dtype is None else x.to(dtype))


def config_of(tensors: OobleckTensors) -> dict[str, Any]:
    """Return the arguments of AutoencoderOobleck, read off the shapes."""
    width, audio_channels, _ = tensors.shape("encoder.conv1.weight_v")
    strides = [tensors.shape(f"encoder.block.{number}.conv1.weight_v") for number in range(tensors.blocks)]
    return {
        "encoder_hidden_size": width, "audio_channels": audio_channels,
        "downsampling_ratios": [kernel // 2 for _, _, kernel in strides],
        "channel_multiples": [out // width for out, _, _ in strides],
        "decoder_channels": tensors.shape("decoder.conv2.weight_v")[1],
        "decoder_input_channels": tensors.shape("decoder.conv1.weight_v")[1],
    }  # fmt: skip


def original_name(name: str, blocks: int) -> str:
    """Return the name that the authors gave to a tensor of diffusers' AutoencoderOobleck with this number of blocks."""
    half, layer, *rest = name.split(".")
    if layer != "block":
        place = {"conv1": 0, "snake1": blocks + 1, "conv2": blocks + 2}[layer]
        return ".".join([half, "layers", str(place), *rest])
    number, part, *rest = rest
    inner = [BLOCK[half][part]]
    if part.startswith("res_unit"):
        inner += ["layers", UNIT[rest[0]]]
        rest = rest[1:]
    return ".".join([half, "layers", str(int(number) + 1), "layers", *inner, *rest])


def _find_mark(shapes: Mapping[str, Shape]) -> tuple[str, bool] | None:
    """Return the prefix of the names, and whether they are those of the authors; None if there is no Oobleck."""
    first = {
        False: ("encoder.conv1.", "encoder.block.0.snake1.alpha"),
        True: ("encoder.layers.0.", "encoder.layers.1.layers.3.alpha"),
    }
    for prefix in PREFIXES:
        for original, (conv, snake) in first.items():
            if f"{prefix}{snake}" in shapes and any(f"{prefix}{conv}{end}" in shapes for end in ENDS):
                return prefix, original
    return None


def _spellings(name: str) -> Iterator[str]:
    yield name
    for own, number in (("weight_g", 0), ("weight_v", 1)):
        if name.endswith(own):
            yield f"{name.removesuffix(own)}parametrizations.weight.original{number}"
            yield f"{name.removesuffix(own)}weight"


def _sample_rate(path: Path) -> dict[str, int]:
    config = path / "config.json" if path.is_dir() else None
    rate = read_table(config, "download it again").get("sampling_rate") if config and config.is_file() else None
    return {} if rate is None else {"sampling_rate": rate}
