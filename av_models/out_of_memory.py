"""Recognizes errors of torch and numpy that say that memory ran out."""

from __future__ import annotations

import torch

_CPU = ("can't allocate memory", "Storage size calculation overflowed", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated, on a GPU or the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU)
