"""Stable Audio 3, from a diffusers folder or the authors' checkpoint, as an audio expert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...load_parts import AUDIO_EXPERT
from ..expert_options import ExpertOptions, Found
from ..folder import DiffusersFolder, is_diffusers_folder
from ..joint.folder_card import config_of
from ..loaded_expert import LoadedExpert
from ..text_files import TextFiles
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
from .stable_audio_3_file import Checkpoint, prefix_of

FAMILY, TEXT = "stable_audio_3", "T5Gemma"
PARTS = {
    "transformer": "network", "duration_embedder": "duration embedder", "vae": "VAE", "text_encoder": f"text encoder {TEXT}",
    "tokenizer": f"tokenizer of {TEXT}",
}  # fmt: skip
MEDIUM_WIDTH = 1536
ABILITIES = ["text to music and sound, stereo, up to 6 min 24 s"]


def find(path: Path) -> Found | None:
    """Return what a file or folder is, if it is Stable Audio 3; else None."""
    if is_diffusers_folder(path):
        return find_in_folder(path, "StableAudio3Pipeline", FAMILY, _name)
    header = read_header_or_none(path)
    prefix = None if header is None else prefix_of(header.shapes)
    if header is None or prefix is None:
        return None
    network = header.part(prefix)
    model = _name({"embed_dim": header.shapes[f"{prefix}to_cond_embed.0.weight"][0]})
    return Found(model, AUDIO_EXPERT, FAMILY, "original", network.precision, network.parameters)


def describe(path: Path, options: ExpertOptions) -> dict[str, Any]:
    """Return the card (see `ExpertFamily.describe`)."""
    found = find(path)
    assert found is not None
    own = transformer_config(path) if is_diffusers_folder(path) else Checkpoint(path).config
    config = {"depth": 24, "num_heads": 24, "embed_dim": MEDIUM_WIDTH} | own
    sizes = sizes_of(config, {"blocks": "depth", "heads": "num_heads", "width": "embed_dim"}, path)
    notes = ["Distilled: 8 steps, no guidance of the audio (scale 1)."] if is_distilled(path) else []
    return {
        "kind": AUDIO_EXPERT, "architecture": "StableAudio3", "name": found.model, "licence": "Stability AI Community License",
        "parameters": found.parameters, "bytes": sum(file.stat().st_size for file in files(path, options) if file.is_file()),
        "precision": found.precision, "names": found.names, "blocks": sizes["blocks"], "heads": sizes["heads"],
        "head_size": sizes["width"] // sizes["heads"], "capabilities": ABILITIES,
        "needs": _needs(path, options), "notes": [*notes, *precision_notes(found.precision), NOT_TRIED],
    }  # fmt: skip


def files(path: Path, options: ExpertOptions) -> list[Path]:
    """Return all files that the loaded expert depends on."""
    return all_files(path, TextFiles.find(path, TEXT, options), options)


def load(path: Path, options: ExpertOptions) -> LoadedExpert:
    """Load the network and the VAE. T5Gemma is loaded with the first prompt, and only then missed.

    Raises ValueError or FileNotFoundError, in one line, for files that are missing, incomplete, or of another model.
    """
    from .stable_audio_3_load import load_expert  # imports diffusers

    return load_expert(path, TextFiles.find(path, TEXT, options), describe(path, options), is_distilled(path), options)


def is_distilled(path: Path) -> bool:
    """Return whether the weights are distilled: then the scheduler of the pipeline adds new noise at each step.

    A checkpoint is, unless its name says that it is the base.
    """
    if not is_diffusers_folder(path):
        return "base" not in path.stem.lower()
    return bool(config_of(DiffusersFolder(path), "scheduler", "scheduler_config.json").get("stochastic_sampling"))


def _needs(path: Path, options: ExpertOptions) -> list[str]:
    if is_diffusers_folder(path):
        return missing_in_folder(path, PARTS, options)
    from ..same_file import find_prefix  # imports diffusers

    no_vae = (options.codec or options.vae) is None and find_prefix(Checkpoint(path).shapes) is None
    return [*(["VAE"] if no_vae else []), *TextFiles.find(path, TEXT, options).missing]


def _name(config: Mapping[str, Any]) -> str:
    width = config.get("embed_dim", MEDIUM_WIDTH)
    return "Stable Audio 3 Medium" if width == MEDIUM_WIDTH else f"Stable Audio 3 ({width} wide)"
