"""Finds binders by name: files in models/duet, and folders of PE-AV there."""

from __future__ import annotations

from pathlib import Path

from ..av_models.published.downloads import BINDERS
from ..av_models.published.pe_av_folder import how_to_get, is_pe_av
from .host import MODELS, find_model, model_files, network_folders


def binder_names() -> list[str]:
    """Returns the names of the user's files that may be binders, and of the folders that are."""
    return [*model_files(), *binder_folders()]


def binder_folders() -> dict[str, Path]:
    """Returns the folders of binders by name."""
    return {name: path for name, path in network_folders(MODELS).items() if is_pe_av(path)}


def find_binder(name: str) -> Path:
    """Returns the file or folder called `name`. Raises FileNotFoundError, with what to download, if it does not exist."""
    folder = network_folders(MODELS).get(name)
    if folder is not None:
        return folder
    try:
        return Path(find_model(name))
    except FileNotFoundError:
        if name not in BINDERS:
            raise
    raise FileNotFoundError(f"binder {name!r} was not found in models/{MODELS}; download it: {how_to_get(name)}")
