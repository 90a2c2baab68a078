"""Says in lines what a joint model is, what it can do and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ALWAYS = "Always generates"


def length_note(seconds: int) -> str:
    """Return the line of a model that always generates clips of one length."""
    return f"{ALWAYS} {seconds} s; a shorter clip is their beginning."


def without_length_note(notes: Iterable[str]) -> list[str]:
    """Return the lines without that one."""
    return [note for note in notes if not note.startswith(ALWAYS)]


def description_lines(card: Mapping[str, Any]) -> list[str]:
    """Return the lines for the card of a published joint model (see `published.joint.describe`)."""
    size = f"{count_in_words(card['parameters'])} parameters, {size_in_words(card['bytes'])} on disk"
    return [f"{card['name']}: {size}, licence {card['licence']}", f"can: {', '.join(card['capabilities'])}", *card["notes"]]


def missing_lines(card: Mapping[str, Any]) -> list[str]:
    """Return lines that say which parts of a published joint model are missing, and what to do."""
    encoders = [name for name in card["needs"] if any(part in name for part in ("text encoder", "text_encoder", "tokenizer"))]
    others = [name for name in card["needs"] if name not in encoders]
    lines = [f"missing: {', '.join(others)}; {_download(others)}"] if others else []
    own = f"missing: {', '.join(encoders)}; {_download(encoders)}, or connect clip of Prompts for Video and Audio"
    return [*lines, *([own] if encoders else [])]


def _download(parts: list[str]) -> str:
    return "download it" if len(parts) == 1 else "download them"


def size_in_words(count: int) -> str:
    """Return a number of bytes such as "26.1 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit / 10:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def count_in_words(parameters: int) -> str:
    """Return a number of parameters such as "5.0 billion"."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if parameters >= unit:
            return f"{parameters / unit:.1f} {name}"
    return f"{parameters:,}"
