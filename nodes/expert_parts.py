"""Finds the parts of an expert among the user's files: what the loaders call "automatic"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..av_models.published.expert_options import ExpertOptions, Found
from ..av_models.published.expert_parts import TEXT_ENCODER, TOKENIZER, VAE, Parts, find_parts
from .expert_files import text_encoders, tokenizers, vaes
from .host import t5_tokenizer


def complete(path: Path, found: Found, options: ExpertOptions) -> Parts:
    """Returns the options of an expert with the parts that it needs and that are among the user's files."""
    files: dict[str, Callable[[], Mapping[str, Path]]] = {TEXT_ENCODER: text_encoders, VAE: vaes, TOKENIZER: _tokenizers}
    return find_parts(path, found, options, lambda part: files[part]())


def _tokenizers() -> Mapping[str, Path]:
    own = t5_tokenizer()
    return tokenizers() | ({} if own is None or not own.is_dir() else {"that of ComfyUI": own})
