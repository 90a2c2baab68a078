"""Builds the networks that a model card describes, without trusting the card.

They are built twice. First without memory, on torch's meta device, to compare them with the tensors in the file: what is larger
than the file stops at once. Then with memory, without random initial values, and the file's tensors are copied in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .checkpoint import check_fit, copy_tensors, read_shapes
from .printable import printable, quoted

N = TypeVar("N")
Parts = Mapping[str, nn.Module]
"""Networks by the prefix of their tensors' names in the file. "" is the network of all other tensors."""

FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What constructors raise for arguments that make no sense."""
LARGEST = 2**22  # elements of a tensor that is not in the file, such as a table of rotary embeddings
CALLS, CALLS_PER_TENSOR = 10_000, 25  # torch calls while a network is built; the models that come with Duet have 6 per tensor
INITIAL_VALUES = frozenset({"kaiming_uniform_", "xavier_uniform_", "uniform_", "normal_", "trunc_normal_", "erfinv_"})


def build(path: str | Path, what: str, make: Callable[[], N], parts: Callable[[N], Parts]) -> N:
    """Build networks with `make`, and load the tensors of `path` into them.

    what: the architecture, for errors. parts: the networks of what `make` returns that the file has tensors for.
    The random state stays as it is. Raises ValueError, in one line, if `make` fails, or its networks do not fit the file.
    """
    shapes = read_shapes(path)
    with one_line(path, what):
        with torch.device("meta"), Allowance(shapes) as allowance:
            planned = parts(make())
        names = _names_in_file(planned, shapes)
        for prefix, network in planned.items():
            own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
            check_fit(own, {name: shapes[key] for name, key in names[prefix].items()}, type(network).__name__, path)
            _check_buffers(network)
        allowance.check_largest()
        with torch.random.fork_rng(devices=[]), NoInitialValues():
            made = make()
    for prefix, network in parts(made).items():
        copy_tensors(network, path, names[prefix])
    return made


@contextmanager
def one_line(path: str | Path, what: str) -> Iterator[None]:
    """Turn any failure of building a `what` into a ValueError with one line that names the file `path`."""
    try:
        yield
    except FAILURES as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        reason = f"it has no {quoted(error.args[0])}" if isinstance(error, KeyError) and error.args else printable(error)
        raise ValueError(
            f"{path}: its model card does not describe a {what}: {reason or type(error).__name__}; download the file again"
        ) from error


class NoInitialValues(TorchFunctionMode):
    """Leaves out random initial values, because the file's tensors replace them. For this thread only."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if getattr(func, "__name__", "") in INITIAL_VALUES:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


class Allowance(NoInitialValues):
    """Stops a constructor that makes far more tensors than the file has. For this thread only, on torch's meta device.

    After transformers has loaded a network, `torch.device` may not see `torch.linspace` any more, which is then put on the meta
    device here.
    shapes: of the file's tensors. Raises ValueError.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.most = max([LARGEST, *(torch.Size(shape).numel() for shape in shapes.values())])
        self.tensors, self.calls = len(shapes), CALLS + CALLS_PER_TENSOR * len(shapes)
        self.largest = torch.Size()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if getattr(func, "__name__", "") == "linspace":
            kwargs = {"device": "meta"} | (kwargs or {})
        result = super().__torch_function__(func, types, args, kwargs)
        if not isinstance(result, Tensor):  # never stop what switches gradients off and on again
            return result
        self.calls -= 1
        if self.calls < 0:
            raise ValueError(f"it has many more layers than the {self.tensors} tensors in the file")
        if result.numel() > self.largest.numel():
            self.largest = result.shape
        return result

    def check_largest(self) -> None:
        """Raise ValueError if a tensor was larger than those in the file, such as a table of rotary embeddings."""
        if self.largest.numel() > self.most:
            raise ValueError(f"it needs a tensor of shape {quoted(tuple(self.largest))}, which the file does not have")


def _names_in_file(parts: Parts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, str]]:
    """Return for each network the names of its tensors → their names in the file."""
    prefixes = tuple(f"{prefix}." for prefix in parts if prefix)
    return {
        prefix: {key.removeprefix(f"{prefix}."): key for key in shapes if key.startswith(f"{prefix}.")}
        if prefix
        else {key: key for key in shapes if not key.startswith(prefixes)}
        for prefix in parts
    }


def _check_buffers(network: nn.Module) -> None:
    """Raise ValueError if the tensors that are not in the file are too large together."""
    saved = network.state_dict()
    extra = sum(buffer.numel() for name, buffer in network.named_buffers() if name not in saved)
    if extra > 2 * LARGEST:
        raise ValueError(f"it needs {extra} values that are not in the file")
