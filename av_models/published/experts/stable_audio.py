"""Stable Audio Open 1.0, from a diffusers folder or the authors' checkpoint, as an audio expert."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...load_parts import AUDIO_EXPERT
from ..expert_options import ExpertOptions, Found
from ..folder import is_diffusers_folder
from ..loaded_expert import LoadedExpert
from ..text_files import TextFiles
from . import stable_audio_file as single
from .audio_family import (
    NOT_TRIED,
    all_files,
    find_in_folder,
    missing_in_folder,
    precision_notes,
    read_header_or_none,
    sizes_of,
    transformer_config,
)

FAMILY, NAME, TEXT = "stable_audio", "Stable Audio Open 1.0", "T5-base"
PARTS = {
    "transformer": "network", "projection_model": "projection", "vae": "VAE", "text_encoder": f"text encoder {TEXT}",
    "tokenizer": f"tokenizer of {TEXT}",
}  # fmt: skip
ABILITIES = ["text to sound and music, stereo, up to 47 s", "makes its whole length and keeps the beginning"]
NO_TORCHSDE = "Its own scheduler needs the package torchsde (pip install torchsde); without it, an Euler scheduler is used."


def find(path: Path) -> Found | None:
    """Return what a file or folder is, if it is Stable Audio Open 1.0, or another model with its network; else None."""
    if is_diffusers_folder(path):
        return find_in_folder(path, "StableAudioPipeline", FAMILY, lambda config: NAME)
    header = read_header_or_none(path)
    prefix = None if header is None else single.prefix_of(header.shapes)
    if header is None or prefix is None:
        return None
    network = header.part(prefix)
    model = NAME if single.has_seconds(header.shapes) else single.OTHER
    return Found(model, AUDIO_EXPERT, FAMILY, "original", network.precision, network.parameters)


def describe(path: Path, options: ExpertOptions) -> dict[str, Any]:
    """Return the card (see `ExpertFamily.describe`). Raises ValueError for another model with the same network."""
    found = find(path)
    assert found is not None
    return {
        "kind": AUDIO_EXPERT, "architecture": "StableAudio", "name": NAME, "licence": "Stability AI Community License",
        "parameters": found.parameters, "bytes": sum(file.stat().st_size for file in files(path, options) if file.is_file()),
        "precision": found.precision, "names": found.names, **_sizes(path), "capabilities": ABILITIES,
        "needs": _needs(path, options),
        "notes": [*precision_notes(found.precision), *([] if find_spec("torchsde") else [NO_TORCHSDE]), NOT_TRIED],
    }  # fmt: skip


def files(path: Path, options: ExpertOptions) -> list[Path]:
    """Return all files that the loaded expert depends on."""
    return all_files(path, TextFiles.find(path, TEXT, options), options)


def load(path: Path, options: ExpertOptions) -> LoadedExpert:
    """Load the network and the VAE. T5 is loaded with the first prompt, and only then missed.

    Raises ValueError or FileNotFoundError, in one line, for files that are missing, incomplete, or of another model.
    """
    from .stable_audio_load import load_expert  # imports diffusers

    return load_expert(path, TextFiles.find(path, TEXT, options), describe(path, options), options)


def _sizes(path: Path) -> dict[str, int]:
    config = transformer_config(path) if is_diffusers_folder(path) else single.Checkpoint(path).config
    published = {"num_layers": 24, "num_attention_heads": 24, "attention_head_dim": 64} | config
    return sizes_of(published, {"blocks": "num_layers", "heads": "num_attention_heads", "head_size": "attention_head_dim"}, path)


def _needs(path: Path, options: ExpertOptions) -> list[str]:
    if is_diffusers_folder(path):
        return missing_in_folder(path, PARTS, options)
    from ..oobleck_file import is_oobleck  # imports diffusers

    header, given = read_header_or_none(path), options.codec or options.vae
    no_vae = given is None and (header is None or not is_oobleck(header.shapes))
    return [*(["VAE"] if no_vae else []), *TextFiles.find(path, TEXT, options).missing]
