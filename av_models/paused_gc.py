"""Pauses Python's garbage collector while packages are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_gc() -> Iterator[None]:
    """No garbage collection inside the block; afterwards the collector is as before.

    PyTorch and diffusers create some 400,000 objects at import. None of them is garbage, but the collector visits them
    again and again, which takes a fifth of the import time. Objects that exist at the end count as old ones, which the
    collector visits less often.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # puts every object in the oldest generation
        if enabled:
            gc.enable()
