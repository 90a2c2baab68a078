"""What the pack adds to ComfyUI's start, against an empty pack, loaded by ComfyUI's own loader.

COMFYUI_PATH=… $COMFYUI_PYTHON benchmarks/startup.py [--runs N] [--cpu]

ComfyUI starts up to the point where it loads custom nodes; from there, each load runs in a process of its own.
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

PACK = Path(__file__).resolve().parent.parent
EMPTY = """
from comfy_api.latest import ComfyExtension


class Empty(ComfyExtension):
    async def get_node_list(self):
        return []


async def comfy_entrypoint():
    return Empty()
"""


def start_comfyui(checkout: Path):
    """ComfyUI's `nodes`, with all of its own nodes loaded."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    sys.argv[1:] = ["--cpu"]
    sys.dont_write_bytecode = False  # whatever the environment says: every start but the first finds bytecode
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    asyncio.run(nodes.init_builtin_extra_nodes())
    return nodes


def milliseconds_to_load(nodes, pack: Path, clock: Callable[[], float]) -> float:
    """Measured in a fork, so that nothing of the pack has been imported."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        begun = clock()
        loaded = asyncio.run(nodes.load_custom_node(str(pack)))
        taken = clock() - begun
        os.write(writer, json.dumps(1000 * taken if loaded else None).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    with open(reader) as answer:
        taken = json.loads(answer.read())
    assert taken is not None, f"ComfyUI could not load {pack}"
    return taken


def compare(nodes, runs: int, clock: Callable[[], float]) -> dict[str, float]:
    """Medians of `runs` loads of each, in turn, after one that fills the bytecode cache."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "__init__.py").write_text(EMPTY)
        pairs = [[milliseconds_to_load(nodes, pack, clock) for pack in (PACK, empty)] for _ in range(runs + 1)]
    ours, theirs = (statistics.median(each) for each in zip(*pairs[1:]))
    return {"runs": runs, "pack_ms": ours, "empty_ms": theirs, "added_ms": ours - theirs, "ratio": ours / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--cpu", action="store_true", help="the processor's time in place of the wall's: for a busy machine")
    given = parser.parse_args()
    if "COMFYUI_PATH" not in os.environ:
        parser.error("COMFYUI_PATH is not set; give the folder of a ComfyUI checkout")
    clock = time.process_time if given.cpu else time.perf_counter
    measured = compare(start_comfyui(Path(os.environ["COMFYUI_PATH"]).resolve()), given.runs, clock)
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in measured.items()}) + "\n")


if __name__ == "__main__":
    main()
