"""Loads Wan's transformer from a GGUF file, with diffusers' quantizer. The package gguf is optional."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ...checkpoint import format_keys
from ...loading import report_loaded
from ...printable import printable
from ..tensor_files import Header
from .wan_names import diffusers_name

OWN_SHAPE = "comfy.gguf.orig_shape"
NOT_INSTALLED = "the package gguf is not installed, which reads GGUF files; install it with pip install gguf"


@dataclass(frozen=True)
class GGUFHeader(Header):
    """The names, shapes and types of a GGUF file's tensors."""

    @property
    def precision(self) -> str:
        """The most frequent of the types, such as "GGUF Q4_K"."""
        counts: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            counts[self.dtypes[name]] += torch.Size(shape).numel()
        return f"GGUF {counts.most_common(1)[0][0]}"


def is_readable() -> bool:
    """Return whether the package gguf is installed."""
    return find_spec("gguf") is not None


def read_header(path: Path) -> Header:
    """Return the header of a file. Raises ValueError, in one line, if it is not GGUF, or if the package is missing."""
    if not is_readable():
        raise ValueError(f"{path} cannot be read: {NOT_INSTALLED}")
    return _read_header(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read_header(path: Path, changed: int) -> Header:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        shapes = {tensor.name: _own_shape(reader, tensor) for tensor in reader.tensors}
        return GGUFHeader(shapes, {tensor.name: tensor.tensor_type.name for tensor in reader.tensors})
    except Exception as error:  # the package raises errors of all kinds for damaged files
        raise ValueError(f"{path} is not a complete GGUF file ({printable(error)}); download it again") from error


def _own_shape(reader: Any, tensor: Any) -> tuple[int, ...]:
    """Return a tensor's shape; of one with more than four dimensions, which some writers cannot store, as its metadata says."""
    field = reader.get_field(f"{OWN_SHAPE}.{tensor.name}")
    sizes = reversed(tensor.shape) if field is None else (field.parts[index][0] for index in field.data)
    return tuple(int(size) for size in sizes)


def load(path: Path, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """Load a transformer. Its weights stay as they are stored; those of one layer at a time are converted to `dtype`.

    Raises ValueError, in one line, if tensors are missing or do not fit.
    """
    from diffusers import GGUFQuantizationConfig, WanTransformer3DModel

    try:
        with TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel"} | config))
            network = WanTransformer3DModel.from_single_file(
                _read_tensors(path, dtype), config=folder, torch_dtype=dtype, local_files_only=True,
                quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            )  # fmt: skip
    except Exception as error:  # of diffusers' own classes too
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as Wan ({reason}); download it again") from error
    missing = sorted(name for name, tensor in network.named_parameters() if tensor.is_meta)
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} tensors of Wan, such as {format_keys(missing, 1)}; download it again")
    report_loaded([path])
    return network.eval().requires_grad_(False)


def _read_tensors(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors by diffusers' names. Only weights of linear layers stay quantized."""
    from diffusers.models.model_loading_utils import load_gguf_checkpoint
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor

    header, found = read_header(path), {}
    for name, tensor in load_gguf_checkpoint(str(path)).items():
        own, shape = diffusers_name(name), header.shapes[name]
        linear = own.endswith(".weight") and len(shape) == 2
        if isinstance(tensor, GGUFParameter) and not linear:
            tensor = dequantize_gguf_tensor(tensor).to(dtype)
        found[own] = tensor if linear else tensor.reshape(shape)
    return found
