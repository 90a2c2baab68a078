"""`duet run`: run a workflow without ComfyUI."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..av_models.paused_gc import paused_gc
from ..av_models.printable import printable
from ..bounce.checkout import ROOT, find_file

if TYPE_CHECKING:
    from ..nodes.headless.execute import RunResult
    from . import Subparsers

LONGEST_LINE = 1000  # characters of a line of a report


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("run", help="run a workflow in API format", description=__doc__)
    parser.add_argument("workflow", metavar="WORKFLOW.json", help="a file, or the name of a shipped workflow, such as bounce_t2av")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.INPUT=VALUE", dest="settings",
        help="set an input; NODE is the title or the key of a node; repeat for more inputs",
    )  # fmt: skip
    parser.add_argument(
        "--output-dir", type=Path, default=Path("output"), metavar="DIR", help="folder for results; default: output"
    )
    parser.add_argument(
        "--input-dir", type=Path, default=Path("input"), metavar="DIR", help="folder of input files; default: input"
    )
    parser.add_argument(
        "--models-dir", type=Path, default=Path("models"), metavar="DIR", help="folder of model files; default: models"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run `duet run`."""
    began = time.perf_counter()
    _require_writable(args.output_dir)
    with paused_gc():
        from ..nodes.headless import RunError, catalogue, load_workflow, run_workflow, set_inputs
        from ..nodes.headless.execute import explain
        from ..nodes.headless.validate import ignored_inputs
        from ..nodes.stand_in import Folders
        from .bars import Bars

    known, file = catalogue(), _workflow_file(args.workflow)
    workflow = set_inputs(load_workflow(file), args.settings, known)
    folders = Folders(args.output_dir, args.input_dir, args.models_dir)
    try:
        result = run_workflow(workflow, known, folders, Bars())
    except (ValueError, OSError, RunError) as error:
        raise ValueError(f"{file}: {explain(error)}") from error
    for line in ignored_inputs(workflow, known):
        print(f"duet: {line}", file=sys.stderr)
    print(_as_json(result, began) if args.json else _as_text(result, began))
    return 0


def _workflow_file(given: str) -> Path:
    """Return the file at path `given`, or the shipped workflow of that name. Raises FileNotFoundError when there is neither."""
    file = find_file(Path(given))
    if file.exists():
        return file
    shipped = {path.stem: path for path in sorted((ROOT / "workflows" / "api").glob("*.json"))}
    if given not in shipped:
        names = ", ".join(shipped)
        raise FileNotFoundError(f"there is no workflow file {given}; check the path, or give a shipped workflow: {names}")
    return shipped[given]


def _require_writable(folder: Path) -> None:
    """Raise ValueError when `folder` cannot be written or created. Nothing is created: a failed run leaves no empty folder."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise ValueError(f"--output-dir is {folder}, but {existing} is a file; give a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"--output-dir is {folder}, but {existing} is not writable; give a folder that you may write to")


def _as_json(result: RunResult, began: float) -> str:
    costs = [facts["forwards_per_step"] for facts in result.reports.values() if "forwards_per_step" in facts]
    return json.dumps(
        {
            "files": [str(path.absolute()) for path in result.files],
            "seconds": round(time.perf_counter() - began, 3),
            "forwards_per_step": costs[-1] if costs else None,
            "reports": result.reports,
        }
    )


def _as_text(result: RunResult, began: float) -> str:
    reports = result.reports.items()
    lines = [printable(f"{title}: {line}", LONGEST_LINE) for title, facts in reports for line in facts["text"]]
    lines.append(f"{time.perf_counter() - began:.1f} s")
    for path in result.files:
        lines += [*_measured(path), str(path.absolute())]
    return "\n".join(lines)


def _measured(path: Path) -> list[str]:
    """Measure a written video; return lines for the report."""
    from ..av_models.media import VIDEO_CONTAINERS
    from ..bounce.detect.report import measure_file
    from .bars import frame_bar

    if path.suffix.lstrip(".") not in VIDEO_CONTAINERS:
        return []
    try:
        with frame_bar(path) as on_frame:
            return [f"measured: {measure_file(path, on_frame).summary()}"]
    except ValueError as error:
        return [f"not measured: {error}"]
