"""`duet info`: show the model card of a safetensors file."""

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
    parser = commands.add_parser("info", help="show the model card of a file", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.safetensors", help="the model file")
    parser.add_argument("--json", action="store_true", help="print the model card as one line of JSON")
    parser.set_defaults(command=info)


def info(args: argparse.Namespace) -> int:
    """Run `duet info`."""
    from ..av_models.checkpoint import read_card

    file = find_file(args.file)
    card = read_card(file)
    if args.json:
        print(json.dumps(card))
        return 0
    print(f"{file}: {_size(file.stat().st_size)}")
    for line in _lines(card):
        print(line)
    return 0


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, each in value.items():
        start = f"{indent}{printable(name)}:"
        if isinstance(each, dict):
            lines += [start, *_lines(each, indent + "  ")]
        else:
            lines.append(f"{start} {printable(', '.join(map(str, each)) if isinstance(each, list) else each, LONGEST_LINE)}")
    return lines


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
