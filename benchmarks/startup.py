"""Measures how much the pack adds to the start of ComfyUI, compared to an empty pack, with ComfyUI's own loader.

COMFYUI_PATH=… $COMFYUI_PYTHON benchmarks/startup.py [--runs N] [--cpu]

ComfyUI is started up to the point where it loads custom nodes. From there, each load runs in a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

PACK = Path(__file__).resolve().parent.parent
EMPTY = """
from comfy_api.latest import ComfyExtension


class Empty(ComfyExtension):
    async def get_node_list(self):
        return []


async def comfy_entrypoint():
    return Empty()
"""


def start_comfyui(checkout: Path) -> ModuleType:
    """Returns ComfyUI's `nodes` module, with all built-in nodes loaded."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    sys.argv[1:] = ["--cpu"]
    sys.dont_write_bytecode = False  # overrides the environment, so that all starts but the first use the bytecode cache
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    asyncio.run(nodes.init_builtin_extra_nodes())
    return nodes


def milliseconds_to_load(nodes: ModuleType, pack: Path, clock: Callable[[], float]) -> float:
    """Loads a pack in a fork, where nothing of it is imported yet, and returns the time in milliseconds."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        start = clock()
        loaded = asyncio.run(nodes.load_custom_node(str(pack)))
        taken = clock() - start
        os.write(writer, json.dumps(1000 * taken if loaded else None).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    with open(reader) as answer:
        taken = json.loads(answer.read())
    assert taken is not None, f"ComfyUI could not load {pack}"
    return taken


def compare(nodes: ModuleType, runs: int, clock: Callable[[], float]) -> dict[str, float]:
    """Returns the medians of `runs` alternating loads of each pack, after one load that fills the bytecode cache."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "__init__.py").write_text(EMPTY)
        pairs = [[milliseconds_to_load(nodes, pack, clock) for pack in (PACK, empty)] for _ in range(runs + 1)]
    ours, theirs = (statistics.median(each) for each in zip(*pairs[1:]))
    return {"runs": runs, "pack_ms": ours, "empty_ms": theirs, "added_ms": ours - theirs, "ratio": ours / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--cpu", action="store_true", help="measure CPU time instead of wall time, for a busy machine")
    args = parser.parse_args()
    if "COMFYUI_PATH" not in os.environ:
        parser.error("COMFYUI_PATH is not set; give the folder of a ComfyUI checkout")
    clock = time.process_time if args.cpu else time.perf_counter
    measured = compare(start_comfyui(Path(os.environ["COMFYUI_PATH"]).resolve()), args.runs, clock)
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in measured.items()}) + "\n")


if __name__ == "__main__":
    main()
