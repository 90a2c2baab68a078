"""`duet experiment`: a whole study. A killed one goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs"


def register(commands) -> None:
    parser = commands.add_parser("experiment", help="run a whole study: measure, table, plots", description=__doc__)
    parser.add_argument("name", choices=["guidance"], help="guidance: which strategy for Bounce, at which scale")
    parser.add_argument("--val", type=int, default=60, metavar="N", help="validation clips a setting")
    parser.add_argument("--test", type=int, default=300, metavar="N", help="test clips a strategy")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: docs/NAME")
    parser.set_defaults(command=experiment)


def experiment(args: argparse.Namespace) -> int:
    for name in ("val", "test"):
        if getattr(args, name) < 2:
            raise ValueError(f"--{name} is {getattr(args, name)}; give at least 2")
    from tqdm import tqdm

    from ..av_models.bounce.guidance_study import draw, markdown_table, study
    from ..av_models.joint_model import load_joint_model
    from ..av_models.loading import BOUNCE

    folder = args.out or FOLDER / args.name
    with tqdm(desc=args.name, unit="setting") as bar:

        def on_cell(done: int, total: int, key: str) -> None:
            bar.total = total
            bar.set_postfix_str(key, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        found = study(load_joint_model(BOUNCE), folder, args.val, args.test, on_cell)
    table = markdown_table(found["test"])
    (folder / "table.md").write_text(table + "\n")
    print(table)
    print(f"results: {folder}{_plots(draw, found, folder)}")
    return 0


def _plots(draw, found: dict, folder: Path) -> str:
    try:
        draw(found, folder)
    except ImportError:
        return " (no plots: matplotlib is not installed)"
    return " (table.md, sweep.png, steps.png)"
