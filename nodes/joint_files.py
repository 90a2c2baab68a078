"""Finds joint models: files in models/duet, and the folders and files of joint models that others have published."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath

from ..av_models.load_parts import VIDEO_EXPERT
from ..av_models.published.downloads import DOWNLOADS
from ..av_models.published.folder import DiffusersFolder
from ..av_models.published.joint import FAMILIES, find_family
from ..av_models.published.load_published import published_card
from .host import diffusers_folders, find_model, model_files


def joint_names() -> list[str]:
    """Returns the names of the user's files that may be joint models, and of the diffusers folders that are."""
    return [*_files(), *(name for name, folder in diffusers_folders().items() if _is_joint(folder))]


def _files() -> list[str]:
    """Returns the names of files, without those of the other parts of a published model in the same folder."""
    files = model_files()
    published = {name for name in files if _is_published(find_model(name))}
    folders = {PurePosixPath(name).parent for name in published} - {PurePosixPath()}
    return [name for name in files if name in published or not folders & set(PurePosixPath(name).parents)]


def _is_published(file: Path) -> bool:
    stat = file.stat()
    return _read_is_published(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1000)
def _read_is_published(file: Path, *changed: int) -> bool:
    """changed: when and how large the file is, for the cache."""
    return _is_joint(file)


def _is_joint(path: Path) -> bool:
    try:
        return find_family(path) is not None
    except (ValueError, OSError):  # a damaged index
        return False


def is_joint_checkpoint(path: str | Path) -> bool:
    """Returns whether a file holds the joint layers of a pair, and names its experts."""
    from ..av_models.joint_checkpoint import is_joint_checkpoint  # imports diffusers

    return Path(path).is_file() and is_joint_checkpoint(path)


def find_joint(name: str) -> Path:
    """Returns the file or folder called `name`.

    Raises FileNotFoundError if it does not exist, and ValueError for a folder of another pipeline.
    """
    folder = diffusers_folders().get(name)
    if folder is None:
        return _find_file(name)
    if find_family(folder) is None:
        raise ValueError(_other_pipeline(folder))
    return folder


def _find_file(name: str) -> Path:
    try:
        return Path(find_model(name))
    except FileNotFoundError:
        if name not in DOWNLOADS:
            raise
    raise FileNotFoundError(f"model {name!r} was not found in models/{DOWNLOADS[name].parts[0].folder}; {DOWNLOADS[name]}")


def _other_pipeline(folder: Path) -> str:
    """Returns what a folder holds, and which node or which joint models to use instead."""
    try:
        card = published_card(folder)
    except ValueError:
        found = DiffusersFolder(folder).pipeline_class
        return f"{folder} holds {found}, which is not a joint model that Duet loads; use one of {', '.join(FAMILIES)}"
    kind, node = ("video", "Load Video Expert") if card["kind"] == VIDEO_EXPERT else ("audio", "Load Audio Expert")
    return f"{folder} holds {card['architecture']}, a model for {kind} alone; use {node} and Join Experts"
