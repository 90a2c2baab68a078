"""Measures what scoring a file costs, as ratios of medians of interleaved runs, and its peak memory for two lengths.

python -m duet_av.benchmarks.scoring [--runs N] [--wall]

decode: decoding all frames. flow: decoding, and dense optical flow on frames reduced to the same pixels as for scoring.
score: `duet score`. measured: the line that `duet run` prints. All read the same file, made with PyAV.
memory: MiB above the start, in a process of its own, for a file of 2 s and one of 20 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import torch
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from ..av_models.media import open_video
from ..av_models.metrics.motion_events import subsampling_step
from ..av_models.metrics.score import score_file
from ..bounce.detect.report import measure_file
from .make_clip import Pictures, Sound, write_clip

SIZES = {"1080p": (1920, 1080), "720p": (1280, 720), "64": (64, 64)}
FRAMES, FPS = 50, 25
LENGTHS = 1, 10  # for memory, in units of FRAMES
WINDOW, REGULAR = 9, 1e-4  # of the flow: pixels, and what is added to its matrices


def make_file(folder: Path, size: tuple[int, int], length: int = 1) -> Path:
    """Writes a moving clip with a click."""
    path = folder / f"{size[0]}_{length}.mp4"
    seconds = length * FRAMES / FPS
    write_clip(path, Pictures(size=size, frames=length * FRAMES), Sound(seconds=seconds, click=1.0))
    return path


def decode(path: Path) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass


def flow(path: Path) -> None:
    """Estimates the flow between all neighbouring frames (Lucas & Kanade 1981, one level)."""
    before = None
    with open_video(path) as file:
        for frame, _ in file.read_frames(step_for=subsampling_step):
            grey = frame.float().mean(-1) / 255
            if before is not None:
                _lucas_kanade(before, grey)
            before = grey


def _lucas_kanade(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Returns the displacement of each pixel, [2, H, W]."""
    y, x = torch.gradient(before)
    t = after - before
    products = torch.stack([x * x, x * y, y * y, x * t, y * t])
    xx, xy, yy, xt, yt = avg_pool2d(products[None], WINDOW, 1, WINDOW // 2)[0]
    determinant = (xx + REGULAR) * (yy + REGULAR) - xy * xy
    return torch.stack([xy * yt - (yy + REGULAR) * xt, xy * xt - (xx + REGULAR) * yt]) / determinant


TASKS: dict[str, Callable[[Path], Any]] = {"decode": decode, "flow": flow, "score": score_file, "measured": measure_file}


def measure(path: Path, runs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Returns milliseconds per frame of decoding, and how many times as long the other tasks take."""
    took: dict[str, list[float]] = {name: [] for name in TASKS}
    for _ in tqdm(range(runs + 1), desc=path.name):
        for name, task in TASKS.items():
            began = clock()
            task(path)
            took[name].append(clock() - began)
    medians = {name: statistics.median(each[1:]) for name, each in took.items()}  # the first warms up
    ratios = {name: round(medians[name] / medians["decode"], 2) for name in TASKS}
    return {"decode_ms_per_frame": round(1000 * medians["decode"] / FRAMES, 2), "ratio": ratios}


def peak_mib(path: Path, task: str) -> int:
    """Returns the peak memory of a task above the start, in a process of its own."""
    command = [sys.executable, "-m", "duet_av.benchmarks.scoring", "--peak", task, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(task: str, path: Path) -> None:
    import torchaudio.functional  # noqa: F401  # so that its import does not count

    began = _peak_kib()
    TASKS[task](path)
    sys.stdout.write(f"{(_peak_kib() - began) // 1024}\n")


def _peak_kib() -> int:
    """Returns the peak memory of this process. (ru_maxrss begins with that of the process that started it.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--wall", action="store_true", help="measure wall time instead of CPU time, on an idle machine")
    parser.add_argument("--peak", nargs=2, metavar=("TASK", "FILE"), help="print the peak memory of one task")
    args = parser.parse_args()
    if args.peak:
        return print_peak(args.peak[0], Path(args.peak[1]))
    clock = time.perf_counter if args.wall else time.process_time
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, size in SIZES.items():
            files = [make_file(folder, size, length) for length in LENGTHS]
            memory = {task: [peak_mib(file, task) for file in files] for task in ("decode", "score", "measured")}
            result = {"size": title} | measure(files[0], args.runs, clock) | {"memory_mib": memory}
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
