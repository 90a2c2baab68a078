"""Loads networks from published files whose tensors have other names than ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..checkpoint import format_keys, real_tensor
from ..loading import report_loaded
from ..printable import printable

N = TypeVar("N", bound=nn.Module)
SCALES = (".scale_weight", ".weight_scale")


class FileTensors:
    """The tensors of an open safetensors file, by the names that they were published with."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.stored = file, path, set(file.keys())

    def has(self, name: str) -> bool:
        """Return whether the file has this tensor."""
        return name in self.stored

    def read(self, name: str) -> Tensor:
        """Return a tensor. Raises ValueError, with one line, if it cannot be read."""
        return real_tensor(self.file, name, self.path)


class ScaledTensors(FileTensors):
    """Tensors of which some have a scale beside them, as 8-bit files do: W = stored · scale.

    products: the precision of these products.
    """

    products = torch.bfloat16

    def read(self, name: str) -> Tensor:
        stem = name.removesuffix(".weight")
        scale = next((stem + end for end in SCALES if name != stem and stem + end in self.stored), None)
        value = super().read(name)
        if scale is None:
            return value
        factor = super().read(scale).to(self.products)
        return value.to(self.products) * (factor[:, None] if factor.ndim == 1 and value.ndim == 2 else factor)  # for all, or rows

    def half(self) -> torch.dtype:
        """Return float16 if weights are stored in it, else bfloat16."""
        return torch.float16 if "F16" in self._dtypes() and "BF16" not in self._dtypes() else torch.bfloat16

    def compute(self) -> torch.dtype:
        """Return the precision to compute in: that of the weights; for those in 8 bits, as `half`."""
        return self.half() if {"F16", "BF16", "F8_E4M3"} & self._dtypes() else torch.float32

    def plain_8_bits(self) -> bool:
        """Return whether weights are stored in 8 bits, without scales."""
        return "F8_E4M3" in self._dtypes() and not any(name.endswith(SCALES) for name in self.stored)

    def _dtypes(self) -> set[str]:
        return {self.file.get_slice(name).get_dtype() for name in self.stored}


class ExactTensors(ScaledTensors):
    """As `ScaledTensors`, with products in float32."""

    products = torch.float32


class WeightNormTensors(FileTensors):
    """Weights that may be stored as a direction and a length (weight normalization): W = g · v / ‖v‖."""

    def has(self, name: str) -> bool:
        return super().has(name) or self._parts(name) is not None

    def read(self, name: str) -> Tensor:
        parts = None if super().has(name) else self._parts(name)
        if parts is None:
            return super().read(name)
        length, direction = (real_tensor(self.file, part, self.path).float() for part in parts)
        return torch._weight_norm(direction, length, 0)

    def _parts(self, name: str) -> tuple[str, str] | None:
        stem = name.removesuffix("weight")
        pairs = (
            (f"{stem}parametrizations.weight.original0", f"{stem}parametrizations.weight.original1"),
            (f"{stem}weight_g", f"{stem}weight_v"),
        )
        return next((pair for pair in pairs if name != stem and self.stored.issuperset(pair)), None)


def load_named(
    network: N, tensors: FileTensors, names: Mapping[str, str], convert: Callable[[str, Tensor], Tensor] = lambda name, x: x
) -> N:
    """Give `network`, which may be on torch's meta device, the tensors of a file; return it frozen, in evaluation mode.

    names: the published name of each of its tensors that the file has. convert(own name, tensor): changes a tensor.
    Raises ValueError, in one line, for missing tensors and other shapes.
    """
    path, what = tensors.path, type(network).__name__
    missing = sorted(name for name in names.values() if not tensors.has(name))
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} tensors of {what}, such as {format_keys(missing, 1)}; download it again")
    empty, found = network.state_dict(), {}
    for own, name in names.items():
        value = convert(own, tensors.read(name))
        if value.shape != empty[own].shape:
            shapes = ["×".join(map(str, x.shape)) for x in (value, empty[own])]
            raise ValueError(f"{path}: {printable(name)} has shape {shapes[0]}, but {what} needs {shapes[1]}; download it again")
        found[own] = value
    network.load_state_dict(found, strict=False, assign=True)
    report_loaded([path])
    return network.eval().requires_grad_(False)
