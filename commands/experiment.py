"""`duet experiment`: run a complete study. An interrupted study continues where it stopped."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..bounce.checkout import ROOT, is_checkout, require_writable_config

if TYPE_CHECKING:
    from . import Subparsers

Report = Callable[[str, int, int], None]
Found = tuple[str, Callable[[], list[str]] | None]
"""The table of a study in Markdown, and a function that draws its plots and returns their file names, or None."""


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("experiment", help="run a study: measurements, table and plots", description=__doc__)
    about = "; ".join(f"{name}: {what}" for name, (_, _, what) in STUDIES.items())
    parser.add_argument("name", choices=list(STUDIES), help=about)
    parser.add_argument(
        "--val", type=int, default=60, metavar="N", help="validation clips per setting, default 60 (guidance, jointdit)"
    )
    parser.add_argument("--test", type=int, metavar="N", help="test clips per compared variant; default: depends on the study")
    parser.add_argument("--config", type=Path, metavar="FILE", help="training config (jointdit, hearing); default: the shipped one")
    pair = "hearing: train only the main pair of models; report variants and ablations only if they are already measured"
    parser.add_argument("--pair", action="store_true", help=pair)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results; default: docs/NAME in a checkout of Duet")
    parser.set_defaults(command=experiment)


def experiment(args: argparse.Namespace) -> int:
    """Run `duet experiment`."""
    run, test, _ = STUDIES[args.name]
    args.test = test if args.test is None else args.test
    for name in ("val", "test"):
        if getattr(args, name) < 2:
            raise ValueError(f"--{name} is {getattr(args, name)}; use at least 2")
    if args.out is None and not is_checkout():
        raise ValueError("--out is not set; give a folder for the results, since Duet is an installed package")
    args.config = args.config or ROOT / "bounce" / "configs" / f"{args.name}.toml"
    if args.config.is_file():  # studies that train
        require_writable_config(args.config)
    folder = args.out or ROOT / "docs" / args.name
    with _progress(args.name) as progress:
        table, draw = run(args, folder, progress)
    (folder / "table.md").write_text(table + "\n")
    print(table)
    print(f"results: {folder} ({', '.join(['table.md', *_plots(draw)])})")
    return 0


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Show a progress bar; yield a function `report(what, done, total)`."""
    from tqdm import tqdm

    with tqdm(desc=name) as bar:

        def report(what: str, done: int, total: int) -> None:
            if done < bar.n:
                bar.reset()
            bar.total = total
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        yield report


def _guidance(args: argparse.Namespace, folder: Path, progress: Report) -> Found:
    from ..bounce.shipped import BOUNCE, load_joint_model
    from ..bounce.studies.guidance_study import draw, markdown_table, study

    def on_cell(done: int, total: int, key: str) -> None:
        progress(key, done, total)

    found = study(load_joint_model(BOUNCE), folder, args.val, args.test, on_cell)
    return markdown_table(found["test"]), lambda: draw(found, folder)


def _aligner(args: argparse.Namespace, folder: Path, progress: Report) -> Found:
    from ..bounce.binder import load_bounce_bind
    from ..bounce.shipped import BOUNCE, BOUNCE_BIND_ROBUST, load_joint_model, load_untrained_bounce
    from ..bounce.studies.aligner_study import markdown_table, study

    def on_clip(key: str, done: int, total: int) -> None:
        progress(" ".join(key.split()[:2]), done, total)

    binder = load_bounce_bind(BOUNCE_BIND_ROBUST)
    found = study(load_untrained_bounce(), load_joint_model(BOUNCE), binder, folder, args.test, on_clip)
    return markdown_table(found), None


def _jointdit(args: argparse.Namespace, folder: Path, progress: Report) -> Found:
    from ..bounce.studies.jointdit_study import markdown_table, study

    return markdown_table(study(args.config, folder, args.val, args.test, progress)["test"]), None


def _hearing(args: argparse.Namespace, folder: Path, progress: Report) -> Found:
    from ..bounce.studies.hearing_report import draw, markdown_tables
    from ..bounce.studies.hearing_study import study

    found = study(args.config, folder, args.test, progress, args.pair)
    return markdown_tables(found), lambda: draw(found, folder)


def _plots(draw: Callable[[], list[str]] | None) -> list[str]:
    try:
        return draw() if draw else []
    except ImportError:
        return ["no plots: matplotlib is not installed"]


STUDIES: dict[str, tuple[Callable[[argparse.Namespace, Path, Report], Found], int, str]] = {
    "guidance": (_guidance, 300, "compare guidance strategies and scales for Bounce"),
    "aligner": (_aligner, 200, "measure how well an aligner synchronizes two separately trained experts"),
    "jointdit": (_jointdit, 200, "measure the effect of JointDiT's components and guidance (trains for a day)"),
    "hearing": (_hearing, 500, "test whether training with audio improves the video (trains for a night)"),
}
"""The function that runs each study, its number of test clips, and a description."""
