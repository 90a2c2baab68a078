"""A hash of the content of values, for keeping results that depend on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from hashlib import sha256
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

PLAIN = (str, bytes, int, float, bool, type(None), Fraction, Enum)  # their text determines them


def fingerprint(*values: Any) -> str:
    """Return a hash that is equal for equal content: numbers, text, tensors, and dataclasses, mappings and sequences of them.

    Fields of dataclasses that do not compare are left out. Of a network, the plain attributes of its modules count, and for
    weights and buffers their shapes and how often they were changed in place. Their values are not read, which would take
    seconds for a large model: compare networks by identity too.
    A value of any other kind never equals another, not even itself.
    """
    digest = sha256()
    for part in _parts(values):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[Any]:
    """Yield the bytes of a value. Each kind begins with its size, so no two values have the same bytes."""
    if isinstance(value, Tensor):
        yield from _parts((str(value.dtype), tuple(value.shape)))
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(value, nn.Module):
        modules = [(name, _kind(module), _plain_attributes(module)) for name, module in value.named_modules()]
        yield from _parts((modules, [(name, *_state(x)) for name, x in (*value.named_parameters(), *value.named_buffers())]))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _parts((_kind(value), {field.name: getattr(value, field.name) for field in fields(value) if field.compare}))
    elif isinstance(value, Mapping):
        yield from _parts((_kind(value), list(value.items())))
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}]".encode()
        for each in value:
            yield from _parts(each)
    else:
        text = (f"{_kind(value)} {value!r}" if isinstance(value, PLAIN) else uuid4().hex).encode()
        yield f"{len(text)}:".encode() + text


def _state(weight: Tensor) -> tuple:
    """Returns what changes with a weight: PyTorch counts changes in place, except of tensors made in inference mode."""
    return str(weight.dtype), tuple(weight.shape), 0 if weight.is_inference() else weight._version


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    return {name: each for name, each in vars(module).items() if isinstance(each, PLAIN)}


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
