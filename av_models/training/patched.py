"""Temporary replacement of a library's function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patch_function(owner: Any, name: str, replacement: Callable) -> Iterator[None]:
    """Replace `owner.name` by `replacement` inside the context, and restore it on exit."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
