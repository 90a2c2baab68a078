"""A hash of what an expert's files hold, which does not depend on the names of its tensors or on how they are split over files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from .checkpoint import open_tensors, real_tensor
from .published.experts import family_module, find_expert
from .published.tensor_files import is_scale, tensor_paths

VALUES = 8  # of each tensor; each costs a read of the disk
BLOCKS, BLOCK = 1024, 1024  # of a file that is not of safetensors
NETWORKS = ("transformer", "unet")
OTHER_PARTS = re.compile(r"(^|\.)(text_encoder|vae|cond_stage_model|first_stage_model|conditioner|pretransform)\.")
"""In names of tensors of a file that holds more than the network."""


def content_hash(path: str | Path) -> str:
    """Return the hash of an expert's network: a file, a folder of shards, or a diffusers folder.

    Tensors count by their shape and by evenly spaced values as numbers, whatever their names and their order. So files in the
    authors', diffusers' and ComfyUI's names have the same hash, and another precision another one. A GGUF file has its own.
    Results are kept until a file changes. Raises FileNotFoundError or ValueError, with one line, for damaged files.
    """
    files = network_files(Path(path))
    return _hash(*((str(file), stat.st_mtime_ns, stat.st_size) for file in files for stat in (file.stat(),)))


def network_files(path: Path) -> list[Path]:
    """Return the files with an expert's network."""
    if path.is_file():
        return [path]
    found = find_expert(path)
    own = getattr(family_module(found.family), "network_files", None) if found else None
    if own is not None:
        return own(path)
    folders = (path / name for name in NETWORKS)
    files = tensor_paths(next((folder for folder in folders if folder.is_dir()), path))
    if not files:
        raise FileNotFoundError(f"{path} has no safetensors files; give the file or folder of an expert")
    return files


@lru_cache(maxsize=256)
def _hash(*files: tuple[str, int, int]) -> str:
    paths = [Path(file) for file, _, _ in files]
    if any(path.suffix != ".safetensors" for path in paths):
        return _combine(_hash_bytes(path) for path in paths)
    return _combine(part for path in paths for part in _hash_tensors(path))


def _hash_tensors(path: Path) -> Iterable[str]:
    with open_tensors(path) as file:
        for name in file.keys():
            if not OTHER_PARTS.search(name) and not is_scale(name):
                yield _hash_tensor(file, name, path)


def _hash_tensor(file: Any, name: str, path: Path) -> str:
    tensor = real_tensor(file, name, path)
    values = tensor.reshape(-1)  # maps the file: only what is picked is read
    picked = values[_even(len(values), VALUES)].to(torch.float32)
    return sha256(json.dumps(list(tensor.shape)).encode() + picked.numpy().tobytes()).hexdigest()


def _hash_bytes(path: Path) -> str:
    digest = sha256(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        for start in _even(max(0, end - BLOCK) + 1, BLOCKS).tolist():
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _even(count: int, most: int) -> torch.Tensor:
    """Return up to `most` evenly spaced indices below `count`, with the first and the last."""
    if count <= most:
        return torch.arange(count)
    return torch.arange(most) * (count - 1) // (most - 1)


def _combine(parts: Iterable[str]) -> str:
    return sha256("".join(sorted(parts)).encode()).hexdigest()
