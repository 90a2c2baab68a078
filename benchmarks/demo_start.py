"""Time of the whole demo, `duet run` of a workflow from process start to exit, and where its import time goes.

python -m duet_av.benchmarks.demo_start [--baseline PYTHON] [--runs N]
python -m duet_av.benchmarks.demo_start --imports [N]

--baseline: the Python of an environment with another checkout of Duet. Runs of the two alternate. The results are median
seconds (wall time, and processor time of all threads) and the median of the ratio of each pair of runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "api" / "bounce_t2av.json"


def seconds_of_run(python: str, workflow: Path, folder: str) -> tuple[float, float]:
    """Wall time and processor time of one run, in seconds. Raises RuntimeError where the run fails."""
    command = [python, "-m", "duet_av", "run", str(workflow), "--output-dir", folder]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def compare(baseline: str | None, workflow: Path, runs: int) -> dict[str, float]:
    """Medians of `runs` runs of each Python, after one that fills the bytecode and file caches."""
    pythons = [sys.executable, *([baseline] if baseline else [])]
    with tempfile.TemporaryDirectory() as folder:
        rounds = [[seconds_of_run(python, workflow, folder) for python in pythons] for _ in range(runs + 1)][1:]
    result: dict[str, float] = {"runs": runs}
    for index, clock in enumerate(("wall", "cpu")):
        result[f"{clock}_s"] = statistics.median(here[index] for here, *_ in rounds)
        if baseline:
            result[f"{clock}_s_baseline"] = statistics.median(there[index] for _, there in rounds)
            result[f"{clock}_ratio"] = statistics.median(here[index] / there[index] for here, there in rounds)
    return result


def import_times(workflow: Path) -> list[tuple[str, float, float]]:
    """Name, self and cumulative milliseconds of every module that a run imports (`python -X importtime`)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-X", "importtime", "-m", "duet_av", "run", str(workflow), "--output-dir", folder]
        lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")]
    return [(name.strip(), int(own) / 1000, int(total) / 1000) for own, total, name in rows if own.strip().isdigit()]


def describe_imports(modules: list[tuple[str, float, float]], most: int) -> str:
    """The import time of each library, then the modules with the largest self time and cumulative time."""
    libraries: Counter[str] = Counter()
    for name, own, _ in modules:
        libraries[name.split(".")[0]] += own
    by_self = sorted(((own, name) for name, own, _ in modules), reverse=True)
    by_total = sorted(((total, name) for name, _, total in modules), reverse=True)
    tables = {
        "self time by library": [(own, name) for name, own in libraries.most_common()],
        "self time by module": by_self,
        "cumulative time by module": by_total,
    }
    return "\n".join(
        line
        for title, rows in tables.items()
        for line in (f"{title}, ms", *(f"{milliseconds:10.1f}  {name}" for milliseconds, name in rows[:most]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", metavar="PYTHON", default=os.environ.get("DUET_BASELINE"), help="default: $DUET_BASELINE")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, metavar="WORKFLOW.json", help="default: bounce_t2av")
    parser.add_argument("--imports", type=int, nargs="?", const=20, metavar="N", help="print the N largest import times instead")
    given = parser.parse_args()
    workflow = given.workflow.resolve()
    if given.imports:
        print(describe_imports(import_times(workflow), given.imports))
        return
    measured = compare(given.baseline, workflow, given.runs)
    print(json.dumps({name: round(value, 3) for name, value in measured.items()}))


if __name__ == "__main__":
    main()
