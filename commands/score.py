"""`duet score`: AV-sync, motion, loudness and health of any video file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def register(commands) -> None:
    parser = commands.add_parser("score", help="measure how well a video's picture and sound agree", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each file")
    parser.set_defaults(command=score)


def score(args: argparse.Namespace) -> int:
    for path in args.files:  # before minutes go into the others
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the name")
    for path in args.files:
        measured = _measured(path)
        if args.json:
            print(json.dumps({"file": str(path)} | measured.facts()))
        else:
            print("\n".join([str(path), *(f"  {line}" for line in measured.lines())]))
    return 0


def _measured(path: Path):
    from tqdm import tqdm

    from ..av_models.metrics.score import score_file

    with tqdm(desc=path.name, unit=" frames", delay=2, leave=False) as bar:
        return score_file(path, on_frame=bar.update)
