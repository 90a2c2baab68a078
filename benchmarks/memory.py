"""Measures the resident memory of ComfyUI while it runs the shipped workflow repeatedly, with a new seed each time.

COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.memory [--runs N]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..bounce.checkout import require_checkout

if TYPE_CHECKING:
    from ..tests.comfyui.server import Server

WARM = 5  # runs until everything is loaded


def resident_mib(pid: int) -> float:
    """Returns the resident memory of a process in MiB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def measure(server: Server, runs: int) -> dict[str, float]:
    """Returns the memory in MiB after `WARM` runs and after all runs, and the increase per run between them."""
    from ..tests.comfyui.graphs import short

    seen = []
    for seed in range(runs):
        run = server.run(short(seed))
        assert run.succeeded, run.messages
        seen.append(resident_mib(server.pid))
    warm, end = seen[WARM - 1], seen[-1]
    return {"runs": runs, "mib_warm": warm, "mib_end": end, "mib_a_run": (end - warm) / (runs - WARM)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    args = parser.parse_args()
    require_checkout("benchmarks.memory")
    from ..tests.comfyui.server import UNNAMED, is_named, named_by_environment

    if not is_named():
        parser.error(UNNAMED)
    with tempfile.TemporaryDirectory() as folder, named_by_environment(Path(folder)) as server:
        measured = measure(server, args.runs)
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in measured.items()}) + "\n")


if __name__ == "__main__":
    main()
