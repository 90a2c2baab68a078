"""Reads folders that diffusers pipelines were saved to: local safetensors files only, no pickles and no downloads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from inspect import signature
from pathlib import Path, PurePath
from typing import Any

import torch

from ..build_from_card import LARGEST, Allowance
from ..card_fields import all_values, check_config, is_file_name, read_table
from ..checkpoint import open_tensors, read_shapes
from ..loading import report_loaded, without_bars
from ..printable import printable, quoted

INDEX = "model_index.json"
VARIANT = "fp16"
RUNS_CODE = frozenset({
    "auto_map", "trust_remote_code", "custom_pipelines", "quantization_config", "attn_implementation", "_attn_implementation",
    "_attn_implementation_internal", "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
})  # fmt: skip
"""Settings of configs that name code: a module of the folder, a package, or a kernel that is downloaded."""
COMPONENTS = frozenset({
    "vae", "audio_vae", "vocoder", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "image_encoder",
})  # fmt: skip
"""Subfolders of models that are no models themselves."""
ATTENTION = ("eager", "sdpa")
VOCABULARIES = (("tokenizer.json",), ("tokenizer.model",), ("spiece.model",), ("vocab.json", "merges.txt"))
"""The files that each hold a tokenizer's words. Without them, transformers makes one that knows no words."""


@dataclass(frozen=True)
class DiffusersFolder:
    """A folder that a diffusers pipeline was saved to.

    keep_dtype: load networks in the dtype of their stored weights; else in float32, which a CPU needs.
    """

    path: Path
    keep_dtype: bool = False

    @cached_property
    def pipeline_class(self) -> str:
        """The name of the pipeline's class. Raises FileNotFoundError or ValueError if the index is missing or not JSON."""
        return printable(_json(self.path / INDEX).get("_class_name"))

    def load(self, component: str, cls: type[Any], dtype: torch.dtype | None = None) -> Any:
        """Load a network of class `cls`, frozen and in evaluation mode, from the subfolder `component`.

        dtype: of the weights; layers that the class keeps in float32 stay so. None: as `keep_dtype` says. Weights that are
        stored in this dtype stay in their files until they are used, so that they are never in memory twice.
        Raises FileNotFoundError or ValueError, with one line, for files that are missing, incomplete, or of another class or
        shape; for any component of the folder, before the first is loaded.
        """
        self._complete  # noqa: B018 (raises)
        folder = self._folder(component)
        files = self.safetensors_files(component)
        dtype = dtype or self._dtype(files[0])
        variant = VARIANT if all(f".{VARIANT}" in file.name for file in files) else None
        config = self.read_config(component, cls)
        try:
            check_size(cls, config, files)
            with without_bars():
                network, report = cls.from_pretrained(
                    folder,
                    variant=variant,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                    torch_dtype=dtype,
                )
        except Exception as error:  # of these libraries' own classes too
            raise ValueError(f"{folder} cannot be loaded as {cls.__name__} ({_first_line(error)}); download it again") from error
        empty = {name for name, tensor in network.named_parameters() if tensor.is_meta}  # diffusers reports no key of a wrong shard
        missing = sorted(empty.union(report["missing_keys"]))
        if missing:
            raise ValueError(f"{folder} lacks {len(missing)} tensors of {cls.__name__}, such as {missing[0]}; download it again")
        report_loaded(files)
        return network.eval().requires_grad_(False)

    def read_config(self, component: str, cls: type[Any]) -> dict[str, Any]:
        """Read the config of a component. Raises ValueError if it is of another class, unsafe, or of a newer diffusers."""
        path = self._folder(component) / "config.json"
        config = _json(path)
        found = config.get("_class_name", cls.__name__)  # transformers' configs have no such entry
        if found != cls.__name__:
            raise ValueError(f"{path.parent} holds {printable(found)}; use a folder with {cls.__name__}")
        check_settings(config, path)
        check_config(config, path)
        _check_version(config, cls, path)
        return config

    def load_processor(self, component: str, cls: type[Any]) -> Any:
        """Load a component without weights, such as a tokenizer, of class `cls`. Raises ValueError if it cannot be loaded."""
        folder = self._folder(component)
        for config in sorted(folder.glob("*_config.json")):
            check_settings(_json(config), config)
        if hasattr(cls, "vocab_files_names") and not has_vocabulary(folder):
            raise FileNotFoundError(f"{folder} has no vocabulary, such as tokenizer.json; download the whole repository")
        try:
            return cls.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # tokenizers raises Exception itself
            raise ValueError(
                f"{self.path / component} cannot be loaded as {cls.__name__} ({_first_line(error)}); download it again"
            ) from error

    def files(self) -> list[Path]:
        """Return all files that the loaded networks depend on."""
        found = (file for pattern in ("*/*.safetensors", "*/*.json") for file in self.path.glob(pattern))
        return sorted([self.path / INDEX, *filter(Path.is_file, found)])  # a cache may link to files that are not there

    @cached_property
    def _complete(self) -> bool:
        """Whether all files of all components are complete. Raises FileNotFoundError or ValueError that names the file."""
        for folder in sorted({file.parent for file in self.path.glob("*/*.safetensors*")}):
            check_complete(folder)
        return True

    def _folder(self, component: str) -> Path:
        folder = self.path / component
        if not folder.is_dir():
            raise FileNotFoundError(f"{self.path} has no folder {component}; download the whole repository")
        return folder

    def safetensors_files(self, component: str) -> list[Path]:
        """Return a component's safetensors files; of two variants, those in full precision.

        Raises FileNotFoundError if there are none.
        """
        folder = self._folder(component)
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            pickled = [file.name for suffix in ("bin", "pt", "pth", "ckpt") for file in sorted(folder.glob(f"*.{suffix}"))]
            has = f"only {pickled[0]}, a pickle file, which Duet does not load" if pickled else "no tensors"
            raise FileNotFoundError(f"{folder} has {has}; download its safetensors files: "
                                    'hf download REPOSITORY --include "*.safetensors" --local-dir FOLDER')  # fmt: skip
        full = [file for file in files if f".{VARIANT}" not in file.name]
        return full or files

    def _dtype(self, file: Path) -> torch.dtype:
        with open_tensors(file) as tensors:
            stored = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}
        halves = {"F16": torch.float16, "BF16": torch.bfloat16}
        return next((halves[name] for name in halves if self.keep_dtype and name in stored), torch.float32)


def has_vocabulary(folder: Path) -> bool:
    """Return whether a tokenizer's folder holds its words."""
    return any(all((folder / name).is_file() for name in names) for names in VOCABULARIES)


def is_diffusers_folder(path: str | Path) -> bool:
    """Return whether a diffusers pipeline was saved to this folder."""
    return (Path(path) / INDEX).is_file()


def find_diffusers_folders(roots: Iterable[Path]) -> dict[str, Path]:
    """Find all diffusers folders below `roots`. Returns their paths by their names relative to the root."""
    found = ((Path(folder), root) for root in roots for folder, _, names in os.walk(root, followlinks=True) if INDEX in names)
    return {folder.relative_to(root).as_posix(): folder for folder, root in sorted(found, reverse=True)}


def find_network_folders(roots: Iterable[Path]) -> dict[str, Path]:
    """Find all folders below `roots` that hold one network: safetensors files beside a config or an index of shards.

    Left out are diffusers folders, and components, such as VAEs, beside other files of their model. Returns their paths by their
    names relative to the root.
    """
    found = []
    for root in roots:
        for folder, below, names in os.walk(root, followlinks=True):
            whole = Path(folder) != root and _holds_network(names)
            if whole and Path(folder).name not in COMPONENTS:
                found.append((Path(folder), root))
            if whole or INDEX in names:
                below.clear()
    return {folder.relative_to(root).as_posix(): folder for folder, root in sorted(found, reverse=True)}


def _holds_network(names: list[str]) -> bool:
    described = "config.json" in names or any(name.endswith(".safetensors.index.json") for name in names)
    return described and INDEX not in names and any(name.endswith(".safetensors") for name in names)


def find_files(roots: Iterable[Path], suffix: str) -> dict[str, Path]:
    """Find all files with `suffix` below `roots`. Returns their paths by their names relative to the root."""
    walked = (
        (Path(folder) / name, root) for root in roots for folder, _, names in os.walk(root, followlinks=True) for name in names
    )
    found = [(file, root) for file, root in walked if file.suffix.lower() == suffix]
    return {file.relative_to(root).as_posix(): file for file, root in sorted(found, reverse=True)}


def files_outside(files: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Return the files that are not inside one of the folders; all names are relative to the same root."""
    all_folders = tuple(folders)
    return [file for file in files if not any(PurePath(file).is_relative_to(folder) for folder in all_folders)]


def check_settings(config: dict[str, Any], path: Path) -> None:
    """Raise ValueError for a setting with which diffusers or transformers would run other code, or print control characters."""
    for field, value in all_values(config):
        name = field.rpartition(".")[2]
        if name in RUNS_CODE and value is not None and value not in ATTENTION:
            raise ValueError(f"{path}: {name} is {quoted(value)}, which may run other code; remove it, or use another folder")
        if isinstance(value, str) and printable(value, len(value) + 1) != " ".join(value.split()):
            raise ValueError(f"{path}: {printable(field)} is {quoted(value)}; remove the control characters")


def check_size(cls: type[Any], config: dict[str, Any], files: Iterable[Path]) -> None:
    """Raise ValueError if a network of class `cls` with this config is larger than what its files hold. Needs no memory."""
    shapes = {f"{file} {key}": shape for file in files for key, shape in read_shapes(file).items()}
    with torch.device("meta"), Allowance(shapes) as allowance:
        network = cls(cls.config_class.from_dict(config)) if hasattr(cls, "config_class") else cls.from_config(config)
    allowance.check_largest()
    needed, found = sum(p.numel() for p in network.parameters()), sum(torch.Size(shape).numel() for shape in shapes.values())
    if needed > 1.5 * found + LARGEST:
        raise ValueError(f"it has {needed} parameters, but the files have {found}")


def check_complete(folder: Path) -> None:
    """Raise FileNotFoundError or ValueError if a safetensors file is cut short, or one of several is missing.

    Only the files' headers are read. The index of a variant of which there is no file is left out.
    """
    for index in sorted(folder.glob("*.index*.json")):
        names = _json(index).get("weight_map", {})
        named = set(names.values()) if isinstance(names, dict) else {names}
        for name in named:
            if not is_file_name(name):
                raise ValueError(f"{index} names the file {quoted(name)}, which is not in this folder; download it again")
        missing = sorted(name for name in named if not (folder / name).is_file())
        if missing and len(missing) < len(named):
            raise FileNotFoundError(f"{folder / missing[0]} is missing, which {index.name} names; finish the download")
    for file in sorted(folder.glob("*.safetensors")):
        with open_tensors(file):
            pass


def _check_version(config: dict[str, Any], cls: type[Any], path: Path) -> None:
    """Raise ValueError for settings that the installed diffusers lacks, if a newer one wrote them."""
    written = str(config.get("_diffusers_version", ""))
    installed = version("diffusers")
    if _numbers(written) <= _numbers(installed):
        return
    known = signature(cls.__init__).parameters
    unknown = sorted(name for name in config if not name.startswith("_") and name not in known)
    if unknown:
        raise ValueError(
            f"{path} was written by diffusers {printable(written)} and has {printable(', '.join(unknown))}, which "
            f"{cls.__name__} of diffusers {installed} lacks; update diffusers"
        )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_table(path, "download it again")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist; download the whole repository") from error


def _first_line(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__
