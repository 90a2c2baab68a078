"""`duet score`: measure audio-video sync, motion, loudness and audio faults of any video file.

With a binder, it also measures how well the content of video, audio and prompts matches.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..av_models.printable import printable

if TYPE_CHECKING:
    from ..av_models.binders.base import Binder
    from ..av_models.metrics.agreement import Agreement, AgreementSettings
    from ..av_models.metrics.score import Score
    from . import Subparsers

LONGEST_NAME = 4096  # characters of a file's path


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("score", help="measure the audio-video sync of video files", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="video files")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per file")
    parser.add_argument(
        "--binder", metavar="FILE_OR_FOLDER",
        help="also compare content with this binder: a file of ImageBind, a folder of PE-AV, or Bounce-Bind for clips of Bounce",
    )  # fmt: skip
    for stream in ("video", "audio"):
        parser.add_argument(
            f"--{stream}-prompt", action="append", default=[], metavar="TEXT",
            help=f"with --binder: what the {stream} should match; once for all files, or once per file",
        )  # fmt: skip
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="CLIP's tokenizer, for prompts with ImageBind")
    parser.set_defaults(command=score)


def score(args: argparse.Namespace) -> int:
    """Run `duet score`."""
    for path in args.files:  # before the first file is measured, which may take minutes
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the name")
    compared = []
    for path, settings in zip(args.files, _agreement_settings(args)):
        measured = _measure(path, settings)
        if measured.agreement:
            compared.append(measured.agreement)
        if args.json:
            print(json.dumps({"file": str(path)} | measured.facts()))
        else:
            print("\n".join([printable(path, LONGEST_NAME), *(f"  {line}" for line in measured.lines())]))
    if compared:
        _print_chance(compared, args.json)
    return 0


def _measure(path: Path, settings: AgreementSettings | None) -> Score:
    from ..av_models.metrics.score import score_file
    from .bars import frame_bar

    with frame_bar(path) as on_frame:
        return score_file(path, on_frame, agreement=settings)


def _print_chance(compared: list[Agreement], as_json: bool) -> None:
    from ..av_models.metrics.agreement import Chance

    chance = Chance.of(compared)
    print(json.dumps({"chance": chance.facts()}) if as_json else chance.line())


def _agreement_settings(args: argparse.Namespace) -> list[AgreementSettings | None]:
    """Return what each file is compared with; None without a binder."""
    if args.binder is None:
        unused = [name for name in ("video_prompt", "audio_prompt", "tokenizer") if getattr(args, name)]
        if unused:
            raise ValueError(f"--{unused[0].replace('_', '-')} is given without --binder; name a binder, such as Bounce-Bind")
        return [None] * len(args.files)
    from ..av_models.metrics.agreement import AgreementSettings

    prompts = zip(*(_each_file(name, getattr(args, name), len(args.files)) for name in ("video_prompt", "audio_prompt")))
    binder = _load_binder(args.binder, args.tokenizer)
    return [AgreementSettings(binder, *pair) for pair in prompts]


def _each_file(name: str, texts: list[str], files: int) -> list[str]:
    if len(texts) not in (0, 1, files):
        raise ValueError(
            f"--{name.replace('_', '-')} is given {len(texts)} times for {files} files; give it once, or once per file"
        )
    return texts if len(texts) == files else (texts or [""]) * files


def _load_binder(source: str, tokenizer: Path | None) -> Binder:
    import torch

    from ..bounce.binder import load_binder
    from ..bounce.shipped import BINDERS

    if source not in BINDERS and (not source or not Path(source).exists()):
        raise FileNotFoundError(f"there is no binder {source!r}; use {' or '.join(BINDERS)}, or the file or folder of a binder")
    binder: Any = load_binder(source, tokenizer)
    return binder.to("cuda") if torch.cuda.is_available() else binder
