"""ACE-Step 1.5, from a diffusers folder, as an audio expert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...load_parts import AUDIO_EXPERT
from ..expert_options import ExpertOptions, Found
from ..folder import is_diffusers_folder
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

FAMILY, TEXT = "ace_step", "Qwen3-Embedding-0.6B"
PARTS = {
    "transformer": "network", "condition_encoder": "condition encoder", "vae": "VAE", "text_encoder": f"text encoder {TEXT}",
    "tokenizer": f"tokenizer of {TEXT}",
}  # fmt: skip
PUBLISHED = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "head_dim": 128}
SIZES = {"blocks": "num_hidden_layers", "heads": "num_attention_heads", "head_size": "head_dim"}
SINGLE_FILE = "ACE-Step 1.5 as one file"
MARKS = ("decoder.layers.0.self_attn.q_proj.weight", "encoder.lyric_encoder.embed_tokens.weight")
PREFIXES = ("", "model.diffusion_model.", "model.")
OWN_GUIDANCE = "Its own pipeline guides with APG on the velocity of each channel; Duet's apg works on the clean estimate."


def find(path: Path) -> Found | None:
    """Return what a folder or file is, if it is ACE-Step 1.5; else None. A single file is named, but not loaded."""
    if is_diffusers_folder(path):
        return find_in_folder(path, "AceStepPipeline", FAMILY, _name)
    header = read_header_or_none(path)
    if header is None or not any(all(prefix + mark in header.shapes for mark in MARKS) for prefix in PREFIXES):
        return None
    return Found(SINGLE_FILE, AUDIO_EXPERT, FAMILY, "original", header.precision, header.parameters)


def describe(path: Path, options: ExpertOptions) -> dict[str, Any]:
    """Return the card (see `ExpertFamily.describe`). Raises ValueError for a single file."""
    found = find(path)
    assert found is not None
    if not is_diffusers_folder(path):
        raise ValueError(
            f"{path} is {SINGLE_FILE}, which Duet does not load; use a folder of diffusers, such as "
            "ACE-Step/acestep-v15-xl-turbo-diffusers"
        )
    config = PUBLISHED | transformer_config(path)
    notes = ["Distilled: 8 steps, no guidance of the audio (scale 1)."] if is_distilled(config) else [OWN_GUIDANCE]
    return {
        "kind": AUDIO_EXPERT, "architecture": "AceStep", "name": found.model, "licence": "MIT", "parameters": found.parameters,
        "bytes": sum(file.stat().st_size for file in files(path, options) if file.is_file()), "precision": found.precision,
        "names": found.names, **sizes_of(config, SIZES, path), "capabilities": ["text and lyrics to music, stereo, 48 kHz"],
        "needs": missing_in_folder(path, PARTS, options), "notes": [*notes, *precision_notes(found.precision), NOT_TRIED],
    }  # fmt: skip


def files(path: Path, options: ExpertOptions) -> list[Path]:
    """Return all files that the loaded expert depends on."""
    return all_files(path, TextFiles.find(path, TEXT, options), options)


def load(path: Path, options: ExpertOptions) -> LoadedExpert:
    """Load the network and the VAE. What encodes prompts is loaded with the first prompt, and only then missed.

    Raises ValueError or FileNotFoundError, in one line, for files that are missing, incomplete, or of another model.
    """
    card = describe(path, options)
    from .ace_step_load import load_expert  # imports diffusers

    return load_expert(path, TextFiles.find(path, TEXT, options), card, is_distilled(transformer_config(path)), options)


def is_distilled(config: Mapping[str, Any]) -> bool:
    """Return whether the weights are distilled, by the config of the transformer."""
    return bool(config.get("is_turbo")) or config.get("model_version") == "turbo"


def _name(config: Mapping[str, Any]) -> str:
    width = config.get("hidden_size", PUBLISHED["hidden_size"])
    size = {2048: "", 2560: " XL"}.get(width, f" ({width} wide)")
    return f"ACE-Step 1.5{size}{' turbo' if is_distilled(config) else ''}"
