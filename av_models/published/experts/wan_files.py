"""Finds the files of a Wan checkpoint: its network, or A14B's two, and its other parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...card_fields import read_table
from ...checkpoint import Shape
from ..expert_options import ExpertOptions
from ..folder import INDEX, DiffusersFolder, check_complete, is_diffusers_folder
from ..tensor_files import SHARD, Header, check_numbers, check_scales, read_headers
from . import wan_gguf
from .wan_names import diffusers_name, naming_of, original_name, prefix_of

HALF = re.compile(r"(high|low)[-_ ]?noise", re.IGNORECASE)
HALF_OF_A14B = re.compile(r"A14B.*(?<![a-z])(high|low)(?![a-z])", re.IGNORECASE)  # such as "Wan2_2-T2V-A14B-HIGH_fp8"
GGUF = ".gguf"
COMFYUI, WAN = "Comfy-Org/Wan_2.1_ComfyUI_repackaged", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
TEXT_ENCODER = f"the text encoder (umt5_xxl_fp16.safetensors of {COMFYUI}, or the folder text_encoder of {WAN})"
TOKENIZER = f"the tokenizer of the text encoder (the folder tokenizer of {WAN})"
VAES = {
    "2.1": f"the VAE of Wan 2.1 (wan_2.1_vae.safetensors of {COMFYUI})",
    "2.2": "the VAE of Wan 2.2 (wan2.2_vae.safetensors of Comfy-Org/Wan_2.2_ComfyUI_Repackaged)",
}


@dataclass(frozen=True)
class Network:
    """The files of one transformer. path: a file, or the folder of `files`."""

    path: Path
    files: tuple[Path, ...]

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return self.path.suffix.lower() == GGUF

    @cached_property
    def header(self) -> Header:
        """The names, shapes and types of its tensors."""
        return wan_gguf.read_header(self.path) if self.is_gguf else read_headers(self.files)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shapes by diffusers' names."""
        return {diffusers_name(name): shape for name, shape in self.header.shapes.items()}

    @property
    def names(self) -> str:
        """Whose names the tensors have, for `Found`."""
        stored = self.header.shapes
        return "comfyui" if prefix_of(stored) or self.header.scaled else naming_of(stored) or "original"

    def stored_name(self, name: str) -> str:
        """Return the name in the files of a tensor of diffusers' transformer."""
        stored = self.header.shapes
        return prefix_of(stored) + (name if naming_of(stored) == "diffusers" else original_name(name))

    @property
    def half(self) -> str:
        """Which of A14B's networks its name says that it is: "high", "low" or ""."""
        found = HALF.search(self.path.name) or HALF_OF_A14B.search(self.path.name)
        return found[1].lower() if found else ""

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, in one line, for files that are missing or do not belong together."""
        if self.path.is_dir():
            check_complete(self.path)
            _check_shards(self.files)
        if self.scale_problem:
            raise ValueError(self.scale_problem)

    @property
    def scale_problem(self) -> str:
        """What is wrong with weights in 8 bits, in one line; "" if nothing is."""
        try:
            if not self.is_gguf:
                check_scales(self.header, self.path)
        except ValueError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class WanFiles:
    """The files of a checkpoint; None for parts that are not there.

    path: as given. high: the network, or A14B's for high noise. low: A14B's for low noise.
    pipeline: the folder of diffusers' pipeline. text_encoder, tokenizer, vae: files or folders.
    """

    path: Path
    high: Network
    low: Network | None = None
    pipeline: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    vae: Path | None = None

    @property
    def networks(self) -> list[Network]:
        """The network, or both of A14B."""
        return [self.high] if self.low is None else [self.high, self.low]

    @property
    def all(self) -> list[Path]:
        """All files that the loaded expert depends on."""
        found = [file for network in self.networks for file in network.files]
        found += [file for network in self.networks if (file := network.path / "config.json").is_file()]
        for part in (self.text_encoder, self.tokenizer, self.vae, self.pipeline and self.pipeline / "scheduler"):
            if part is not None:
                found += [part] if part.is_file() else sorted(file for file in part.glob("*") if file.is_file())
        found += [self.pipeline / INDEX] if self.pipeline else []
        return list(dict.fromkeys(found))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of the pipeline's folder."""
        return {} if self.pipeline is None else read_table(self.pipeline / INDEX, "download it again")

    @property
    def lacks_half(self) -> bool:
        """Whether this is one of A14B's two networks alone, as its name or the pipeline's folder says."""
        return self.low is None and bool(self.high.half or any(self.settings.get("transformer_2") or ()))

    def missing_text(self) -> list[str]:
        """Return what is missing to encode prompts, in words."""
        return [words for part, words in ((self.text_encoder, TEXT_ENCODER), (self.tokenizer, TOKENIZER)) if part is None]


def find_networks(path: Path, options: ExpertOptions = ExpertOptions()) -> WanFiles | None:
    """Return the networks of a checkpoint without its other parts; None if it is not a Wan."""
    high, low, pipeline = path, None, None
    if path.is_dir() and is_diffusers_folder(path):
        if not DiffusersFolder(path).pipeline_class.startswith("Wan"):
            return None
        high, low, pipeline = path / "transformer", path / "transformer_2", path
    elif (path / "high_noise_model").is_dir() or (path / "low_noise_model").is_dir():
        high, low = path / "high_noise_model", path / "low_noise_model"
    first, second = find_network(high), find_network(options.low_noise or low)
    return None if first is None else WanFiles(path, first, second, pipeline)


def find_network(path: Path | None) -> Network | None:
    """Return the network in a file or a folder; None if it is not a Wan. Its files need not be complete."""
    files = [] if path is None else _files(path)
    if path is None or not files:
        return None
    network = Network(path, tuple(files))
    if network.is_gguf and not wan_gguf.is_readable():
        return network
    return network if naming_of([*network.header.shapes, *_indexed(path)]) else None


def with_parts(files: WanFiles, options: ExpertOptions, version: str) -> WanFiles:
    """Return the files with those of the other parts: as the options say, else beside the expert. version: of the VAE."""
    from .. import umt5_file, wan_vae_file  # imports diffusers
    from ..umt5_text import find_tokenizer

    home = files.path if files.path.is_dir() else files.path.parent
    encoder = _part(options.text_encoder, "text_encoder") or _beside(home, "text_encoder", umt5_file.is_encoder)
    own = [home / "tokenizer", home / "google" / "umt5-xxl"]
    vae = _part(options.vae, "vae") or _beside(home, "vae", lambda shapes: wan_vae_file.version_of(shapes) == version)
    tokenizer = _part(options.tokenizer, "tokenizer") or find_tokenizer(encoder, *own)
    return replace(files, text_encoder=encoder, tokenizer=tokenizer, vae=vae)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in (".safetensors", GGUF) else []
    found = sorted(path.glob("*.safetensors"))
    full = [file for file in found if ".fp16" not in file.name] or found
    shards = [file for file in full if SHARD.search(file.name)]
    return shards or next(([file] for file in full if naming_of(_shapes(file))), [])


def _check_shards(files: tuple[Path, ...]) -> None:
    check_numbers(files)
    kinds = {read_headers([file]).precision: file for file in files}
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise ValueError(f"{first} is {one} and {second.name} is {other}; download both from one repository")


def _indexed(path: Path) -> list[str]:
    """Return the names in the index of a folder of shards, of which one may be missing."""
    names: dict[str, Any] = {}
    for index in path.glob("*.index.json") if path.is_dir() else ():
        found = read_table(index, "download it again").get("weight_map", {})
        names |= found if isinstance(found, dict) else {}
    return list(names)


def _part(path: Path | None, name: str) -> Path | None:
    """Return what an option names: `path` itself, or the folder of this part in a pipeline's folder."""
    if path is not None and not path.exists():
        raise FileNotFoundError(f"there is no {name} {path}; check the name")
    return path / name if path is not None and (path / name).is_dir() else path


def _beside(home: Path, name: str, fits: Callable[[dict[str, Shape]], bool]) -> Path | None:
    if any((home / name).glob("*.safetensors")):
        return home / name
    return next((file for file in sorted(home.glob("*.safetensors")) if fits(_shapes(file))), None)


def _shapes(file: Path) -> dict[str, Shape]:
    try:
        return dict(read_headers([file]).shapes)
    except (ValueError, OSError):  # another file, which need not be whole
        return {}
