"""The tensors of a network as they lie on disk: one safetensors file, or several that an index names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import Shape, open_tensors
from ..printable import printable
from .folder import check_complete
from .named_tensors import SCALES

PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
MINOR = 0.02  # share of the values in another precision that is not named, such as norms
EIGHT_BITS = ("F8_E4M3", "F8_E5M2")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")
SCALED_MARKS = ("scaled_fp8", "comfy_quant")


@dataclass(frozen=True)
class Header:
    """The names, shapes and types of tensors, without their values. dtypes: as safetensors names them, such as "BF16"."""

    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, str]

    def part(self, *prefixes: str) -> Header:
        """Return the header of the tensors whose names begin so."""
        names = [name for name in self.shapes if name.startswith(prefixes)]
        return Header({name: self.shapes[name] for name in names}, {name: self.dtypes[name] for name in names})

    @property
    def parameters(self) -> int:
        """The number of values, without the scales of 8-bit weights."""
        return sum(math.prod(shape) for name, shape in self.shapes.items() if not is_scale(name))

    @property
    def scaled(self) -> bool:
        """Whether 8-bit weights have scales beside them, or say so."""
        return any(is_scale(name) for name in self.shapes)

    @property
    def precision(self) -> str:
        """The precision in words: "bf16", "scaled fp8", or "bf16 and fp32" for a mixture."""
        counts: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            if not is_scale(name):
                counts[PRECISIONS.get(self.dtypes[name], self.dtypes[name].lower())] += math.prod(shape)
        major = [name for name, count in counts.most_common() if count > MINOR * counts.total()]
        return " and ".join(f"scaled {name}" if name == "fp8" and self.scaled else name for name in major)


def is_scale(name: str) -> bool:
    return name.endswith(SCALES) or name.rpartition(".")[2] in (*SCALED_MARKS, "scale_input", "input_scale")


class Shards:
    """Several open safetensors files with the methods of one, for `FileTensors`."""

    def __init__(self, paths: list[Path]) -> None:
        self.files = [open_tensors(path) for path in paths]
        self.owners = {name: file for file in self.files for name in file.keys()}

    def keys(self) -> list[str]:
        """Return the names of all tensors."""
        return list(self.owners)

    def get_tensor(self, name: str) -> Tensor:
        """Read a tensor."""
        return self.owners[name].get_tensor(name)

    def get_slice(self, name: str) -> Any:
        """Return a tensor's shape and type, as safetensors does."""
        return self.owners[name].get_slice(name)


def tensor_paths(path: Path) -> list[Path]:
    """Return the safetensors files of a network: `path` itself, or all those of a folder.

    Raises FileNotFoundError or ValueError, with one line, for a shard that an index names and that is missing or incomplete.
    """
    if path.is_file():
        return [path]
    check_complete(path)
    return sorted(path.glob("*.safetensors"))


def check_numbers(files: Sequence[Path]) -> None:
    """Raise FileNotFoundError, in one line, if the names of shards say that one is missing."""
    shards = [(file, int(found[1]), int(found[2])) for file in files if (found := SHARD.search(file.name))]
    for file, _, count in shards[:1]:
        absent = sorted(set(range(1, count + 1)) - {number for _, number, _ in shards})
        if absent:
            name = SHARD.sub(f"-{absent[0]:05d}-of-{count:05d}.safetensors", file.name)
            raise FileNotFoundError(f"{file.parent / name} is missing; finish the download")


def read_header(path: Path) -> Header:
    """Return the header of a file or of a folder's files. Raises as `tensor_paths` does."""
    return read_headers(tensor_paths(path))


def read_headers(paths: Sequence[Path]) -> Header:
    """Return the header of several files as one."""
    return _read_header(*((str(each), each.stat().st_mtime_ns, each.stat().st_size) for each in paths))


def check_scales(header: Header, path: Path) -> None:
    """Raise ValueError, in one line, if weights say that they are scaled 8-bit ones and have no scale, or are of another kind."""
    whole = [name for name, kind in header.dtypes.items() if name.endswith(".weight") and kind[0] in "IUB" and kind != "BF16"]
    if whole:
        raise ValueError(f"{path}: {printable(whole[0])} is in a format that Duet does not read; use a file in fp8, fp16 or bf16")
    if not header.scaled:
        return
    for name, kind in header.dtypes.items():
        stem = name.removesuffix(".weight")
        if stem == name or (kind not in EIGHT_BITS and f"{stem}.{SCALED_MARKS[1]}" not in header.dtypes):
            continue
        scale = next((header.shapes[stem + end] for end in SCALES if stem + end in header.shapes), None)
        if kind not in EIGHT_BITS or (scale is not None and math.prod(scale) not in (1, header.shapes[name][0])):
            raise ValueError(f"{path}: {printable(name)} is in a format that Duet does not read; use a file in fp8, fp16 or bf16")
        if scale is None:
            raise ValueError(f"{path}: {printable(name)} is in 8 bits and has no scale, such as {printable(stem)}{SCALES[1]}; "
                             "download the file again")  # fmt: skip


@lru_cache(maxsize=256)
def _read_header(*files: tuple[str, int, int]) -> Header:
    shards = Shards([Path(path) for path, _, _ in files])
    slices = {name: shards.get_slice(name) for name in shards.keys()}
    return Header({name: tuple(x.get_shape()) for name, x in slices.items()}, {name: x.get_dtype() for name, x in slices.items()})
