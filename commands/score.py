"""`duet score`: measure audio-video sync, motion, loudness and audio faults of any video file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..av_models.printable import printable

if TYPE_CHECKING:
    from ..av_models.metrics.score import Score
    from . import Subparsers

LONGEST_NAME = 4096  # characters of a file's path


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("score", help="measure the audio-video sync of video files", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="video files")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per file")
    parser.set_defaults(command=score)


def score(args: argparse.Namespace) -> int:
    """Run `duet score`."""
    for path in args.files:  # before the first file is measured, which may take minutes
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the name")
    for path in args.files:
        measured = _measure(path)
        if args.json:
            print(json.dumps({"file": str(path)} | measured.facts()))
        else:
            print("\n".join([printable(path, LONGEST_NAME), *(f"  {line}" for line in measured.lines())]))
    return 0


def _measure(path: Path) -> Score:
    from ..av_models.metrics.score import score_file
    from .bars import frame_bar

    with frame_bar(path) as on_frame:
        return score_file(path, on_frame)
