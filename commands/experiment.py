"""`duet experiment`: a whole study. A killed one goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs"


def register(commands) -> None:
    parser = commands.add_parser("experiment", help="run a whole study: measure, table, plots", description=__doc__)
    parser.add_argument(
        "name", choices=list(STUDIES),
        help="guidance: which strategy for Bounce, at which scale; aligner: what a binder makes two experts agree on",
    )  # fmt: skip
    parser.add_argument("--val", type=int, default=60, metavar="N", help="validation clips a setting (guidance)")
    parser.add_argument("--test", type=int, metavar="N", help="test clips of everything that is compared")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: docs/NAME")
    parser.set_defaults(command=experiment)


def experiment(args: argparse.Namespace) -> int:
    run, test = STUDIES[args.name]
    args.test = test if args.test is None else args.test
    for name in ("val", "test"):
        if getattr(args, name) < 2:
            raise ValueError(f"--{name} is {getattr(args, name)}; give at least 2")
    folder = args.out or FOLDER / args.name
    table, drawn = run(args, folder)
    (folder / "table.md").write_text(table + "\n")
    print(table)
    print(f"results: {folder}{drawn}")
    return 0


def _guidance(args: argparse.Namespace, folder: Path) -> tuple[str, str]:
    from tqdm import tqdm

    from ..av_models.bounce.guidance_study import draw, markdown_table, study
    from ..av_models.joint_model import load_joint_model
    from ..av_models.loading import BOUNCE

    with tqdm(desc=args.name, unit="setting") as bar:

        def on_cell(done: int, total: int, key: str) -> None:
            bar.total = total
            bar.set_postfix_str(key, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        found = study(load_joint_model(BOUNCE), folder, args.val, args.test, on_cell)
    return markdown_table(found["test"]), _plots(draw, found, folder)


def _aligner(args: argparse.Namespace, folder: Path) -> tuple[str, str]:
    from tqdm import tqdm

    from ..av_models.binders.bounce_bind import load_bounce_bind
    from ..av_models.bounce.aligner_study import markdown_table, study
    from ..av_models.joint_model import load_joint_model, untrained_bounce
    from ..av_models.loading import BOUNCE

    with tqdm(desc=args.name, unit="clip") as bar:

        def on_clip(key: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(" ".join(key.split()[:2]), refresh=False)
            bar.update(done - bar.n)

        found = study(untrained_bounce(), load_joint_model(BOUNCE), load_bounce_bind(), folder, args.test, on_clip)
    return markdown_table(found), " (table.md)"


def _plots(draw, found: dict, folder: Path) -> str:
    try:
        draw(found, folder)
    except ImportError:
        return " (no plots: matplotlib is not installed)"
    return " (table.md, sweep.png, steps.png)"


STUDIES = {"guidance": (_guidance, 300), "aligner": (_aligner, 200)}
"""What runs each study, and how many test clips it takes; it gives the table and which files it drew."""
