"""`duet train`: train a model as described in a config file. Results of earlier runs are never overwritten."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..av_models.printable import printable
from ..bounce.checkout import find_file, require_writable_config

if TYPE_CHECKING:
    from tqdm import tqdm

    from . import Subparsers

LONGEST_LINE = 1000


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("train", help="train a model", description=__doc__)
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.toml", help="the training config, such as bounce/configs/audio_codec.toml"
    )
    parser.add_argument("--resume", action="store_true", help="continue the latest unfinished run of this config")
    parser.add_argument("--steps", type=int, metavar="N", help="stop after step N of the training schedule")
    parser.set_defaults(command=train)


def train(args: argparse.Namespace) -> int:
    """Run `duet train`."""
    if args.steps is not None and args.steps < 1:
        raise ValueError(f"--steps is {args.steps}; use at least 1")
    from ..av_models.training.config import read_schedule
    from ..bounce.training.stages import read_config, train_config

    path = find_file(args.config)
    config = read_config(path)
    require_writable_config(path)
    total = read_schedule(config, path).steps
    first, out = path.parent / config["run"], path.parent / config["out"]
    folder = _find_unfinished(first, total) if args.resume else _find_unused(first)
    out = out.with_stem(out.stem + folder.name.removeprefix(first.name))
    with Progress() as progress:
        try:
            train_config(
                path, resume=args.resume, steps=args.steps, folder=folder, out=out, on_step=progress.step,
                on_clip=progress.clip, say=progress.say,
            )  # fmt: skip
        except KeyboardInterrupt:
            progress.close()
            print(f"duet: {_interrupted_message(folder)}", file=sys.stderr)
            raise
    _report(folder, out, total)
    if folder != first and args.steps:
        _compare(first, folder)
    return 0


class Progress:
    """Progress bars: one for encoding the clips, then one for training."""

    bar: tqdm | None

    def __init__(self) -> None:
        self.bar, self.title = None, ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the current bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def clip(self, done: int, total: int) -> None:
        """Show the number of encoded clips."""
        self._show("encoding clips", done, total, 0)

    def say(self, line: str) -> None:
        """Print a line beside the progress bars."""
        self.close()
        print(printable(line, LONGEST_LINE), file=sys.stderr)

    def step(self, done: int, total: int, loss: float) -> None:
        """Show the number of training steps and the loss."""
        self._show("training", done, total, done - 1).set_postfix_str(f"loss {loss:.4f}", refresh=False)

    def _show(self, title: str, done: int, total: int, initial: int) -> tqdm:
        from tqdm import tqdm

        if self.bar is None or title != self.title or done < self.bar.n:
            self.close()
            self.bar, self.title = tqdm(total=total, desc=title, initial=initial), title
        self.bar.update(done - self.bar.n)
        return self.bar


def _runs(first: Path) -> list[Path]:
    """Return the folders of this config's runs: `run`, `run_2`, `run_3`, …"""
    name = re.compile(re.escape(first.name) + r"(_\d+)?")
    return [folder for folder in first.parent.glob(f"{first.name}*") if name.fullmatch(folder.name)]


def _find_unused(first: Path) -> Path:
    """Return the first run folder that has neither a loss curve nor a training state."""
    from ..av_models.training.loop import CURVE, STATE

    folder, number = first, 1
    while (folder / CURVE).exists() or (folder / STATE).exists():
        number += 1
        folder = first.with_name(f"{first.name}_{number}")
    return folder


def _find_unfinished(first: Path, total: int) -> Path:
    """Return the unfinished run folder with the latest training state. Raises ValueError when there is none."""
    from ..av_models.training.loop import STATE, read_step

    states = sorted((f / STATE for f in _runs(first) if (f / STATE).exists()), key=lambda state: state.stat().st_mtime)
    for state in reversed(states):
        if read_step(state) < total:
            return state.parent
    raise ValueError(f"{first} has no unfinished run to resume; start a new run without --resume")


def _interrupted_message(folder: Path) -> str:
    from ..av_models.training.loop import STATE

    if (folder / STATE).exists():
        return f"the training state is saved in {folder}; continue with --resume"
    return f"interrupted before the first save; the run in {folder} cannot be resumed"


def _report(folder: Path, out: Path, total: int) -> None:
    from ..av_models.training.loop import STATE, read_step

    done = read_step(folder / STATE)
    finished = f"checkpoint: {out}" if done == total else f"stopped at step {done} of {total}; continue with --resume"
    for line in (f"run: {folder}{_plot(folder)}", finished):
        print(printable(line, LONGEST_LINE))


def _plot(folder: Path) -> str:
    """Plot the loss curve; return the names of its files for the report."""
    from ..av_models.training.curves import plot_curve
    from ..av_models.training.loop import CURVE

    curve = folder / CURVE
    if not curve.exists():
        return " (too few steps for a curve)"
    try:
        plot_curve(curve, curve.with_suffix(".png"))
    except ImportError:
        return f" ({CURVE}; no plot: matplotlib is not installed)"
    return f" ({CURVE}, {curve.with_suffix('.png').name})"


def _compare(first: Path, folder: Path) -> None:
    from ..av_models.training.curves import TOLERANCE, compare_curves
    from ..av_models.training.loop import CURVE

    if not ((first / CURVE).exists() and (folder / CURVE).exists()):
        return
    worst = compare_curves(first / CURVE, folder / CURVE)
    if worst is not None:
        agrees = "agrees with" if worst <= TOLERANCE else "differs from"
        print(f"loss {agrees} {first / CURVE}: largest difference {worst:.2%} (tolerance {TOLERANCE:.0%})")
