"""Reads a pickled checkpoint of tensors, which may come from anyone, without running code from it."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .printable import quoted

SAFE = (2, 10)  # the version of torch from which no file harms its reader, as far as is known
PUBLISHED = "give the published file"


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that `torch.save` wrote, by name.

    Raises FileNotFoundError if there is no such file. Raises ValueError, in one line, if it has anything but tensors, or tensors
    that are larger than the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
        raise ValueError(f"torch is {torch.__version__}, in which a pickle can do harm; install torch {'.'.join(map(str, SAFE))}")
    try:
        _check_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a crafted pickle raises anything
        raise ValueError(f"{path} is not a checkpoint that contains only tensors; {PUBLISHED}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{path} is not a checkpoint that contains only tensors; {PUBLISHED}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not name.isprintable():
            raise ValueError(f"{path} has a tensor called {quoted(name)}; {PUBLISHED}")
        if not _is_plain(tensor):
            raise ValueError(f"{path}: {name} is not an ordinary tensor with values of its own; {PUBLISHED}")
    return tensors


def _check_zip(path: Path) -> None:
    """Raise ValueError if a zip file unpacks to more than its size; `torch.save` does not compress."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if sum(part.file_size for part in file.infolist()) > path.stat().st_size:
                raise ValueError("compressed")


def _is_plain(tensor: Any) -> bool:
    """Return whether a tensor is dense, of numbers, and not larger than its storage, as an expanded one is."""
    if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    return not tensor.is_complex() and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
