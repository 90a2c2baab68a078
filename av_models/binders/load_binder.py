"""Load a binder from its safetensors file, whose model card names the architecture, or PE-AV from its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..checkpoint import read_card
from ..load_parts import expect
from .base import Binder

Loader = Callable[[Path, Path | str | None], Binder]


def _load_imagebind(path: Path, tokenizer: Path | str | None) -> Binder:
    from .imagebind import load_imagebind

    return load_imagebind(path, tokenizer)


LOADERS: dict[str, Loader] = {"ImageBind": _load_imagebind}
"""The loader of each architecture: (file, tokenizer folder) → binder."""


def load_binder(source: str | Path, tokenizer: str | Path | None = None, loaders: Mapping[str, Loader] = LOADERS) -> Binder:
    """Load a binder from a safetensors file, or PE-AV from a transformers folder, frozen and in evaluation mode.

    tokenizer: a folder with CLIP's tokenizer; without it, ImageBind cannot embed text.
    loaders: the accepted architectures.
    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or has another architecture.
    """
    if Path(source).is_dir():
        from .load_pe_av import load_pe_av

        return load_pe_av(source)
    architecture = expect(read_card(source), "architecture", loaders, source)
    return loaders[architecture](Path(source), tokenizer)
