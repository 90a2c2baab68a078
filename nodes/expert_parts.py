"""Finds the parts of an expert among the user's files: what the loaders call "automatic"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .expert_files import text_encoders, tokenizers, vaes
from .host import t5_tokenizer

if TYPE_CHECKING:
    from ..av_models.published.expert_options import ExpertOptions, Found
    from ..av_models.published.expert_parts import Parts

FILES: dict[str, Callable[[], Mapping[str, Path]]] = {
    "text_encoder": text_encoders,
    "vae": vaes,
    "tokenizer": lambda: _tokenizers(),
}


def complete(path: Path, found: Found, options: ExpertOptions) -> Parts:
    """Returns the options of an expert with the parts that it needs and that are among the user's files."""
    from ..av_models.published.expert_parts import find_parts  # imports diffusers

    return find_parts(path, found, options, lambda part: FILES[part]())


def _tokenizers() -> Mapping[str, Path]:
    own = t5_tokenizer()
    return tokenizers() | ({} if own is None or not own.is_dir() else {"that of ComfyUI": own})
