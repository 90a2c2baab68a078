"""A binder from its file."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint import read_card
from ..loading import SHIPPED_BINDERS, expect
from .base import Binder


def load_binder(source: str | Path, tokenizer: str | Path | None = None) -> Binder:
    """A Bounce-Bind by its name, or the binder in a safetensors file.

    tokenizer: a folder with CLIP's tokenizer, without which ImageBind embeds no text.
    """
    from .bounce_bind import load_bounce_bind
    from .imagebind import load_imagebind

    if source in SHIPPED_BINDERS:
        return load_bounce_bind(source)
    architecture = expect(read_card(source), "architecture", ("BounceBind", "ImageBind"), source)
    return load_bounce_bind(source) if architecture == "BounceBind" else load_imagebind(source, tokenizer)
