"""A folder that a diffusers pipeline was saved to, read from safetensors alone and never from the network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..checkpoint import open_tensors

INDEX = "model_index.json"
VARIANT = "fp16"


@dataclass(frozen=True)
class DiffusersFolder:
    """`own_precision`: networks in the precision they are stored in; else in float32, which a CPU needs."""

    path: Path
    own_precision: bool = False

    @cached_property
    def pipeline(self) -> str:
        """The name of the pipeline's class."""
        return str(_json(self.path / INDEX).get("_class_name"))

    def load(self, part: str, kind: type) -> nn.Module:
        """A network of the class `kind`. Raises FileNotFoundError or ValueError, in one line, for files that are missing,
        cut short, or of another class or size."""
        folder = self._folder(part)
        files = self.safetensors(part)
        precision = self._precision(files[0])
        variant = VARIANT if all(f".{VARIANT}" in file.name for file in files) else None
        found = _json(folder / "config.json").get("_class_name", kind.__name__)  # transformers has no such entry
        if found != kind.__name__:
            raise ValueError(f"{folder} holds {found}; this place takes {kind.__name__}")
        try:
            network, report = kind.from_pretrained(
                folder, variant=variant, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ValueError(f"{folder} does not load as {kind.__name__} ({_first_line(error)}); get it again") from error
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise ValueError(f"{folder} lacks {len(missing)} tensors of {kind.__name__}, as {missing[0]}; get it again")
        return network.to(precision).eval().requires_grad_(False)

    def read(self, part: str, kind: type) -> Any:
        """What has no tensors, as a tokenizer, of the class `kind`."""
        try:
            return kind.from_pretrained(self._folder(part), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{self.path / part} holds no {kind.__name__} ({_first_line(error)}); get it again") from error

    def files(self) -> list[Path]:
        """All files that decide what is loaded."""
        return sorted([self.path / INDEX, *self.path.glob("*/*.safetensors"), *self.path.glob("*/*.json")])

    def _folder(self, part: str) -> Path:
        folder = self.path / part
        if not folder.is_dir():
            raise FileNotFoundError(f"{self.path} has no folder {part}; get the whole repository")
        return folder

    def safetensors(self, part: str) -> list[Path]:
        """The files of a part's tensors, those in full precision where there are both; FileNotFoundError for none."""
        folder = self._folder(part)
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            pickled = [file.name for suffix in ("bin", "pt", "pth", "ckpt") for file in sorted(folder.glob(f"*.{suffix}"))]
            has = f"only {pickled[0]}, a pickle, which Duet does not open" if pickled else "no tensors"
            raise FileNotFoundError(f"{folder} has {has}; get its safetensors: "
                                    'hf download REPOSITORY --include "*.safetensors" --local-dir FOLDER')  # fmt: skip
        full = [file for file in files if f".{VARIANT}" not in file.name]
        return full or files

    def _precision(self, file: Path) -> torch.dtype:
        with open_tensors(file) as tensors:
            stored = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}
        halves = {"F16": torch.float16, "BF16": torch.bfloat16}
        return next((halves[name] for name in halves if self.own_precision and name in stored), torch.float32)


def is_folder(path: str | Path) -> bool:
    """Whether a diffusers pipeline was saved here."""
    return (Path(path) / INDEX).is_file()


def folders_below(roots: Iterable[Path]) -> dict[str, Path]:
    """All such folders below `roots`, by their names relative to them."""
    found = ((Path(folder), root) for root in roots for folder, _, names in os.walk(root, followlinks=True) if INDEX in names)
    return {folder.relative_to(root).as_posix(): folder for folder, root in sorted(found, reverse=True)}


def outside(files: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Those of `files` that are no part of one of `folders`; all by their names relative to one place."""
    within = tuple(folders)
    return [file for file in files if not any(PurePath(file).is_relative_to(folder) for folder in within)]


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no {path}; get the whole repository") from error
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); get it again") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
