"""The file of a run's loss curve: `step`, `seconds`, and the mean of each logged value since the row before."""

from __future__ import annotations

import csv
from pathlib import Path

COLUMNS = ("step", "seconds")
RESTORE = "restore the files of that run, or start a new run without --resume"


def add_row(path: Path, step: int, seconds: float, logged: list[dict[str, float]]) -> None:
    """Append the means of `logged`, the values of each step. A new file gets a header."""
    new = not path.exists()
    means = {key: sum(p[key] for p in logged) / len(logged) for key in logged[0]}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow([*COLUMNS, *means])
        writer.writerow([step, round(seconds), *(f"{v:.6g}" for v in means.values())])


def keep_rows(path: Path, step: int, last: int | None) -> None:
    """Remove the rows after `step`, which an interrupted run logged after its last save and will log again.

    last: the step of the last row that stays, 0 for no row; None if it is not known. Raises ValueError, in one line, for a file
    that is not the curve of this run up to there.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    header, *rows = lines or [b""]
    if path.exists() and not header.startswith(",".join(COLUMNS).encode()):
        raise ValueError(f"{path} is {'empty' if not lines else 'not the loss curve of a run'}; {RESTORE}")
    steps = [_step_of(row, header.count(b",")) for row in rows]
    complete = [each for each in steps if each is not None]
    if complete != steps[: len(complete)] or len(steps) > len(complete) + 1 or complete != sorted(set(complete)):
        raise ValueError(f"{path} has rows that are not of a loss curve; {RESTORE}")
    kept = [each for each in complete if each <= step]
    found = kept[-1] if kept else 0
    if last is not None and found != last:
        raise ValueError(f"{path} has rows up to step {found}, but the saved state needs them up to step {last}; {RESTORE}")
    if len(kept) < len(rows):
        path.write_bytes(b"".join([header, *rows[: len(kept)]]))


def _step_of(row: bytes, columns: int) -> int | None:
    """Return the step of a row; None for one that is not written to its end, as the last one may be."""
    step = row.split(b",", 1)[0]
    return int(step) if step.isdigit() and row.count(b",") == columns and row.endswith(b"\n") else None
