"""Reports which files of a model have been loaded, for one progress bar in place of those of diffusers and transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path


def _ignore(count: int) -> None:
    pass


_on_loaded: ContextVar[Callable[[int], None]] = ContextVar("on_loaded", default=_ignore)


@contextmanager
def watch_loading(on_loaded: Callable[[int], None]) -> Iterator[None]:
    """Call `on_loaded` with the number of bytes of each part of a model that is loaded inside the `with` block."""
    token = _on_loaded.set(on_loaded)
    try:
        yield
    finally:
        _on_loaded.reset(token)


def report_loaded(files: Iterable[Path]) -> None:
    """Say that the part of a model in `files` has been loaded."""
    _on_loaded.get()(sum(file.stat().st_size for file in files))


@contextmanager
def without_bars() -> Iterator[None]:
    """Turn off the progress bars of diffusers and transformers inside the `with` block; they have one for each part."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    shown = [each for each in (diffusers_logging, transformers_logging) if each.is_progress_bar_enabled()]
    for each in shown:
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each in shown:
            each.enable_progress_bar()
