"""`duet info`: show the model card of a safetensors file, or what a published joint model is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Subparsers

from ..av_models.printable import printable
from ..bounce.checkout import find_file

LONGEST_LINE = 10_000


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help="show the model card of a file or folder", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a safetensors file, or the folder of a published joint model")
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
    """Return the card of a file or folder, and the lines that show it."""
    from ..av_models.checkpoint import read_card
    from ..av_models.published.description import description_lines, missing_lines, size_in_words
    from ..av_models.published.joint import describe, find_family

    if file.is_dir() or find_family(file):
        card = describe(file)
        settings = {name: card[name] for name in ("architecture", "given", "sampling")}
        return card, [printable(line, LONGEST_LINE) for line in (*description_lines(card), *missing_lines(card))] + _lines(settings)
    card = read_card(file)
    return card, [f"{file}: {size_in_words(file.stat().st_size)}", *_lines(card)]


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, each in value.items():
        start = f"{indent}{printable(name)}:"
        if isinstance(each, dict):
            lines += [start, *_lines(each, indent + "  ")]
        else:
            lines.append(f"{start} {printable(', '.join(map(str, each)) if isinstance(each, list) else each, LONGEST_LINE)}")
    return lines
