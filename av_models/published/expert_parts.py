"""Finds the text encoder, tokenizer and VAE of an expert among the user's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .detect import detect, say_what, tokenizer_class
from .downloads import PARTS
from .expert_options import ExpertOptions, Found
from .folder import has_vocabulary
from .load_published import published_card

TEXT_ENCODER, VAE, TOKENIZER = "text_encoder", "vae", "tokenizer"


WORDS = {TEXT_ENCODER: ("text encoder", "text_encoder"), VAE: ("vae",), TOKENIZER: ("tokenizer",)}
"""Words of the missing parts in a card's `needs`."""


@dataclass(frozen=True)
class Wanted:
    """The parts that an expert takes: how `Found.model` of a fitting file begins, the best first. word: in names of such VAEs."""

    text_encoder: tuple[str, ...] = ()
    vae: tuple[str, ...] = ()
    word: str = ""


@dataclass(frozen=True)
class Parts:
    """The options with the parts that were found, their names by part, and the card of the expert with them."""

    options: ExpertOptions
    chosen: Mapping[str, str]
    card: Mapping[str, Any]

    def missing(self, found: Found | None) -> list[str]:
        """Return a line for each missing part, or for those of one download, that says what to do."""
        needs: dict[str, list[str]] = {}
        for need in self.card.get("needs", ()):
            needs.setdefault(_remedy(need, found), []).append(need)
        return [f"missing: {' and '.join(parts)}; {remedy}" for remedy, parts in needs.items()]


UMT5, OOBLECK = ("UMT5-XXL", "UMT5 with width"), ("Oobleck",)
WANTED = {
    "wan": Wanted(UMT5, ("the VAE of Wan 2.2", "the VAE of Wan 2.1"), word="wan"),
    "tangoflux": Wanted(("T5 v1.1 or FLAN-T5 large", "T5 v1.1 or FLAN-T5 with width"), OOBLECK),
    "stable_audio": Wanted(("T5-base", "T5 with width"), OOBLECK),
}
"""By family; experts that are not listed here have all their parts beside them."""


def wanted_parts(found: Found | None) -> Wanted:
    """Return which parts an expert takes."""
    return WANTED.get(found.family if found else "", Wanted())


def find_parts(path: Path, found: Found | None, options: ExpertOptions, candidates: Callable[[str], Mapping[str, Path]]) -> Parts:
    """Return the options of an expert with the parts that it needs and that are among the user's files.

    candidates(part): the user's files and folders for a "text_encoder", "vae" or "tokenizer", by name.
    """
    chosen: dict[str, str] = {}
    card = published_card(path, options)
    for part in WORDS:
        need = _need(card, part)
        if getattr(options, part) is not None or need is None or (part == VAE and options.codec is not None):
            continue
        files, wanted = candidates(part), wanted_parts(found)
        name = (
            _tokenizer(files, wanted)
            if part == TOKENIZER
            else _best(files, _starts(wanted, part, need), wanted.word if part == VAE else "")
        )
        if name is not None:
            changed: dict[str, Any] = {part: files[name]}
            options = replace(options, **changed)
            chosen[part], card = name, published_card(path, options)
    return Parts(options, chosen, card)


def check_part(part: str, path: Path, found: Found) -> None:
    """Raise ValueError, with what the file is, if a "text_encoder" or "vae" is not one that the expert takes."""
    starts = getattr(wanted_parts(found), part)
    held = detect(path)
    if starts and (held is None or not held.model.startswith(starts)):
        names = " or ".join(start for start in starts if not start.endswith("width"))
        raise ValueError(f"{path} holds {say_what(path)}; {found.model} takes {names}")


def _need(card: Mapping[str, Any], part: str) -> str | None:
    """Return the text of the card that says that a part is missing."""
    return next((need for need in card.get("needs", ()) if any(word in need.lower() for word in WORDS[part])), None)


def _starts(wanted: Wanted, part: str, need: str) -> tuple[str, ...]:
    """Return how `Found.model` of a fitting file begins: of VAEs those that the text names."""
    starts: tuple[str, ...] = getattr(wanted, part)
    named = tuple(start for start in starts if start in need)
    return named if part == VAE and named else starts


def _best(files: Mapping[str, Path], wanted: tuple[str, ...], word: str) -> str | None:
    """Return the name of the best of the user's files; names with `word` first, then the order of the list."""
    fitting = []
    for order, (name, path) in enumerate(files.items()):
        found = detect(path)
        rank = None if found is None else next((i for i, start in enumerate(wanted) if found.model.startswith(start)), None)
        if rank is not None:
            fitting.append((rank, word not in name.lower(), order, name))
    return min(fitting)[-1] if fitting else None


def _tokenizer(files: Mapping[str, Path], wanted: Wanted) -> str | None:
    """Return the name of a folder with the tokenizer of UMT5, or of T5: their classes are the same, and their words are not."""
    is_umt5 = wanted.text_encoder[:1] == UMT5[:1]
    fitting = (name for name, path in files.items() if tokenizer_class(path).startswith("T5") and has_vocabulary(path))
    return next((name for name in fitting if is_umt5 == any(word in name.lower() for word in ("umt5", "wan"))), None)


def _remedy(need: str, found: Found | None) -> str:
    if "network for low noise" in need:
        return "choose it as low_noise"
    part = next((part for part, words in WORDS.items() if any(word in need.lower() for word in words)), None)
    source = TEXT_ENCODER if part == TOKENIZER else part  # its download has the tokenizer too
    starts = () if source is None else _starts(wanted_parts(found), source, need)
    download = next((each for start in starts for name, each in PARTS.items() if start.startswith(name)), None)
    return str(download or "download it")
