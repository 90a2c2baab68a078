"""Measures the clips per second of the simulator on one core, with video and audio rendered in batches of 64 clips.

python -m duet_av.benchmarks.world
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from ..bounce.world.render import render
from ..bounce.world.sound import render_sound
from ..bounce.world.world import simulate

RUNS, CLIPS, SIZE = 20, 64, 64


def main() -> None:
    worlds = simulate(RUNS * CLIPS, "train")
    rates: dict[str, list[float]] = {"simulate": [], "render": [], "sound": []}
    for run in range(RUNS):
        part = worlds[run * CLIPS : (run + 1) * CLIPS]
        rates["simulate"].append(_rate(CLIPS * 4, simulate, CLIPS * 4, "train", run))
        rates["render"].append(_rate(CLIPS, render, part, SIZE))
        rates["sound"].append(_rate(CLIPS, render_sound, part))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    together = 1 / sum(1 / rate for rate in medians.values())
    print(", ".join(f"{name} {rate:.0f}" for name, rate in medians.items()), f"; together {together:.0f} clips/s/core")


def _rate(clips: int, work: Callable[..., Any], *args: Any) -> float:
    """Runs `work` and returns the clips per second of CPU time."""
    start = time.process_time()
    work(*args)
    return clips / (time.process_time() - start)


if __name__ == "__main__":
    main()
