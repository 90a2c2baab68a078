"""`duet info`: say what a file or folder is: a model of Duet with its card, or a model, encoder, VAE or LoRA of others."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Subparsers

from ..av_models.printable import printable
from ..bounce.checkout import find_file

LONGEST_LINE, SAFETENSORS = 10_000, ".safetensors"


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help="show the model card of a file or folder", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a safetensors or GGUF file, or a folder")
    parser.add_argument("--json", action="store_true", help="print the model card as one line of JSON")
    parser.set_defaults(command=info)


def info(args: argparse.Namespace) -> int:
    """Run `duet info`."""
    file = find_file(args.file)
    card, lines = _read(file)
    if args.json:
        print(json.dumps(card))
        return 0
    for line in lines:
        print(line)
    return 0


def _read(file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the card of a file or folder, and the lines that show it. Raises ValueError for what Duet does not use."""
    from ..av_models.checkpoint import has_card, read_card
    from ..av_models.published.description import size_in_words
    from ..av_models.published.detect import detect, say_what
    from ..av_models.published.joint import describe, find_family
    from ..av_models.published.load_published import check_networks, published_card

    if find_family(file):
        return _described(describe(file), ("architecture", "given", "sampling"))
    if file.suffix.lower() == SAFETENSORS and not file.is_dir() and has_card(file):
        card = read_card(file)
        return card, [f"{file}: {size_in_words(file.stat().st_size)}", *_lines(card)]
    found = detect(file)
    if found is None:
        check_networks(file)
        raise ValueError(f"{file} holds {say_what(file)}; use a file or folder of a model that Duet loads")
    if found.family:
        return _described(published_card(file), ("architecture", "precision", "names", "blocks", "heads", "head_size"))
    line = f"{file}: {say_what(file)}, {size_in_words(_total_bytes(file))}"
    return asdict(found) | {"bytes": _total_bytes(file)}, [printable(line, LONGEST_LINE)]


def _described(card: dict[str, Any], settings: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Return the card of a published model, and the lines that show it with these of its fields."""
    from ..av_models.published.description import description_lines, missing_lines

    lines = [printable(line, LONGEST_LINE) for line in (*description_lines(card), *missing_lines(card))]
    return card, lines + _lines({name: card[name] for name in settings if card.get(name)})


def _total_bytes(path: Path) -> int:
    """Return the size of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, each in value.items():
        start = f"{indent}{printable(name)}:"
        if isinstance(each, dict):
            lines += [start, *_lines(each, indent + "  ")]
        else:
            lines.append(f"{start} {printable(', '.join(map(str, each)) if isinstance(each, list) else each, LONGEST_LINE)}")
    return lines
