"""Finds experts and their parts by name: in models/duet and models/diffusers, and in ComfyUI's own folders."""

from __future__ import annotations

from pathlib import Path, PurePath

from ..av_models.published.downloads import DOWNLOADS
from .host import (
    CHECKPOINTS,
    DIFFUSERS,
    DIFFUSION_MODELS,
    MODELS,
    TEXT_ENCODERS,
    VAES,
    diffusers_folders,
    files_of,
    find_model,
    gguf_files,
    model_files,
    network_folders,
)

SOUND_WORDS = ("audio", "ace_step", "ace-step", "acestep", "tango")
"""Parts of the names of checkpoints that may be audio models. Others, such as those of images, are not listed."""


def expert_names() -> list[str]:
    """Returns the names of all files and folders that may be experts; what they are is read when they are used."""
    folders = network_folders(MODELS, DIFFUSERS, DIFFUSION_MODELS)
    inside = tuple(f"{name}/" for name in folders)
    files = [name for name in (*model_files(), *_checkpoints(), *files_of(DIFFUSION_MODELS)) if not name.startswith(inside)]
    return list(dict.fromkeys((*files, *gguf_files(), *diffusers_folders(), *folders)))


def find_expert(name: str) -> Path:
    """Returns the file or folder called `name`. Raises FileNotFoundError, with what to download, if it does not exist."""
    folders = diffusers_folders() | network_folders(MODELS, DIFFUSERS, DIFFUSION_MODELS)
    if name in folders:
        return folders[name]
    if name in (checkpoints := _checkpoints()):
        return checkpoints[name]
    try:
        return Path(find_model(name))
    except FileNotFoundError:
        others = files_of(DIFFUSION_MODELS) | gguf_files()
        if name in others:
            return others[name]
        if name not in DOWNLOADS:
            raise
    raise FileNotFoundError(f"model {name!r} was not found in models/{DOWNLOADS[name].parts[0].folder}; {DOWNLOADS[name]}")


def title(path: Path) -> str:
    """Returns the name of an expert: its file name without the suffix, or its folder name."""
    return path.name if path.is_dir() else path.stem


def text_encoders() -> dict[str, Path]:
    """Returns the files and folders of text encoders by name."""
    return _first(files_of(TEXT_ENCODERS), network_folders(TEXT_ENCODERS), _inside("text_encoder"))


def vaes() -> dict[str, Path]:
    """Returns the files and folders of VAEs by name."""
    return _first(files_of(VAES), network_folders(VAES), _inside("vae"))


def tokenizers() -> dict[str, Path]:
    """Returns the folders that may hold a tokenizer: in diffusers folders, and in or beside networks."""
    networks = network_folders(TEXT_ENCODERS, MODELS)
    beside = {f"{name}/tokenizer": path for name, each in networks.items() if (path := each / "tokenizer").is_dir()}
    return _first(_inside("tokenizer"), networks, beside)


def _first(*lists: dict[str, Path]) -> dict[str, Path]:
    """Returns all lists in one; of two files with the same name, the first."""
    found: dict[str, Path] = {}
    for each in lists:
        found |= {name: path for name, path in each.items() if name not in found}
    return found


def _inside(component: str) -> dict[str, Path]:
    """Returns the folders of a component of diffusers pipelines, by name."""
    return {f"{name}/{component}": path for name, each in diffusers_folders().items() if (path := each / component).is_dir()}


def _checkpoints() -> dict[str, Path]:
    """Returns the checkpoints with Stability AI's file names of Stable Video Diffusion, and those of audio models."""
    return {name: path for name, path in files_of(CHECKPOINTS).items() if _may_be_expert(PurePath(name).name.lower())}


def _may_be_expert(name: str) -> bool:
    return name.startswith("svd") or any(word in name for word in SOUND_WORDS)
