"""Where experts lie: files in models/duet, folders of diffusers, and Stable Video Diffusion among the checkpoints."""

from __future__ import annotations

from pathlib import Path, PurePath

from .host import checkpoints, diffusers_folders, find_model, model_files


def expert_names() -> list[str]:
    """What the user can choose from."""
    return [*model_files(), *_svd_checkpoints(), *diffusers_folders()]


def find_expert(name: str) -> Path:
    """The file or folder called `name`; FileNotFoundError if it is gone."""
    folders = diffusers_folders()
    if name in folders:
        return folders[name]
    return _svd_checkpoints().get(name) or find_model(name)


def title(path: Path) -> str:
    """What an expert is called: its file's name without the suffix, or its folder's."""
    return path.name if path.is_dir() else path.stem


def _svd_checkpoints() -> dict[str, Path]:
    """Those that are named as Stability AI names them: svd.safetensors, svd_xt.safetensors and so on."""
    return {name: path for name, path in checkpoints().items() if PurePath(name).name.lower().startswith("svd")}
