"""What the families of published audio experts have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...load_parts import AUDIO_EXPERT
from ...printable import quoted
from ..expert_options import ExpertOptions, Found
from ..folder import DiffusersFolder, is_diffusers_folder
from ..joint.folder_card import config_of, missing_parts
from ..load_network import check_options
from ..tensor_files import Header, read_header, tensor_paths
from ..text_files import TextFiles

NOT_TRIED = "Not tried with published weights yet."


def find_in_folder(path: Path, pipeline: str, family: str, name: Callable[[Mapping[str, Any]], str]) -> Found | None:
    """Return what a diffusers folder is, if its pipeline is of the class `pipeline`; else None.

    name: names the model by the config of its transformer.
    """
    try:
        if not is_diffusers_folder(path) or DiffusersFolder(path).pipeline_class != pipeline:
            return None
        model = name(transformer_config(path))
    except (ValueError, OSError, TypeError):
        return None
    header = _header_of(path)
    return Found(model, AUDIO_EXPERT, family, "diffusers", header.precision, header.parameters)


def _header_of(path: Path) -> Header:
    """Return the header of the transformer of a diffusers folder. One without tensors if it is missing or damaged."""
    try:
        return read_header(path / "transformer")
    except (ValueError, OSError):
        return Header({}, {})


def read_header_or_none(path: Path) -> Header | None:
    """Return the header of a safetensors file, or of a folder's files; None if there are none, or they are damaged."""
    try:
        files = path.suffix == ".safetensors" if path.is_file() else any(path.glob("*.safetensors"))
        return read_header(path) if files else None
    except (ValueError, OSError):
        return None


def missing_in_folder(path: Path, parts: Mapping[str, str], options: ExpertOptions) -> list[str]:
    """Return what is missing of the parts of a diffusers folder, in words, without those that `options` replace."""
    replaced = {
        "text_encoder": options.text_encoder, "tokenizer": options.tokenizer or options.text_encoder,
        "vae": options.codec or options.vae,
    }  # fmt: skip
    return missing_parts(DiffusersFolder(path), {name: words for name, words in parts.items() if replaced.get(name) is None})


def transformer_config(path: Path) -> dict[str, Any]:
    """Return the config of the transformer of a diffusers folder; {} if there is none."""
    return config_of(DiffusersFolder(path), "transformer")


def sizes_of(config: Mapping[str, Any], names: Mapping[str, str], path: Path) -> dict[str, int]:
    """Return settings by our names for them. Raises ValueError, in one line, for one that is not a whole number above 0."""
    for name in names.values():
        value = config[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{path / 'transformer'}: {name} is {quoted(value)}; download it again")
    return {ours: config[theirs] for ours, theirs in names.items()}


def all_files(path: Path, text: TextFiles, options: ExpertOptions) -> list[Path]:
    """Return all files that a loaded expert depends on."""
    own = DiffusersFolder(path).files() if is_diffusers_folder(path) else tensor_paths(path)
    vae = [] if options.vae is None else [options.vae] if options.vae.is_file() else sorted(options.vae.rglob("*.safetensors"))
    return list(dict.fromkeys([*own, *text.encoder_files, *vae, *(lora for lora, _ in options.loras)]))


def precision_notes(precision: str) -> list[str]:
    """Return notes about a precision that is unusual."""
    notes = ["fp8 without scales"] if "fp8" in precision.split(" and ") else []
    return notes + ([f"Mixed precisions: {precision}."] if " and " in precision else [])


def small_dtype(options: ExpertOptions) -> torch.dtype | None:
    """Return the dtype of a codec or another small network; None: as stored."""
    return check_options(options) or (None if options.keep_dtype else torch.float32)


def text_dtype(options: ExpertOptions) -> torch.dtype:
    """Return the dtype of a text encoder."""
    return check_options(options) or (torch.bfloat16 if options.keep_dtype else torch.float32)


def check_codec(codec: Any, channels: int, path: Path) -> None:
    """Raise ValueError if the latents of a codec have other channels than those of the expert."""
    if codec.stride.channels != channels:
        raise ValueError(
            f"the audio VAE has latents of {codec.stride.channels} channels, and {path} needs {channels}; use the VAE of this model"
        )
