"""Finds experts: files in models/duet, diffusers folders, and Stable Video Diffusion files in models/checkpoints."""

from __future__ import annotations

from pathlib import Path, PurePath

from .host import checkpoints, diffusers_folders, find_model, model_files


def expert_names() -> list[str]:
    """Returns the names of all experts that the user has."""
    return [*model_files(), *_svd_checkpoints(), *diffusers_folders()]


def find_expert(name: str) -> Path:
    """Returns the file or folder called `name`. Raises FileNotFoundError if it does not exist."""
    folders = diffusers_folders()
    if name in folders:
        return folders[name]
    return _svd_checkpoints().get(name) or find_model(name)


def title(path: Path) -> str:
    """Returns the name of an expert: its file name without the suffix, or its folder name."""
    return path.name if path.is_dir() else path.stem


def _svd_checkpoints() -> dict[str, Path]:
    """Returns checkpoints with Stability AI's file names, such as svd.safetensors and svd_xt.safetensors."""
    return {name: path for name, path in checkpoints().items() if PurePath(name).name.lower().startswith("svd")}
