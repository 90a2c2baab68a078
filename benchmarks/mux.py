"""Measures the frames per second of the muxer: 121 frames of 768×512 with 48 kHz stereo, h264 crf 19.

python -m duet_av.benchmarks.mux [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from ..av_models.media import MuxSettings, write_video

FRAMES, HEIGHT, WIDTH, FPS, SAMPLE_RATE = 121, 512, 768, 25, 48_000


def make_video() -> torch.Tensor:
    """Returns a moving coloured texture with some grain, [T, H, W, 3] in 0..1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 24, 36, generator=generator)
    texture = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")[0].permute(1, 2, 0)
    grain = 0.02 * torch.randn(HEIGHT, WIDTH, 3, generator=generator)
    return torch.stack([texture.roll((i, 2 * i), (0, 1)) + grain.roll(7 * i, 1) for i in range(FRAMES)]).clamp(0, 1)


def seconds_to_write(frames: torch.Tensor, audio: torch.Tensor, folder: Path) -> float:
    """Writes a video file and returns the time in seconds."""
    start = time.perf_counter()
    write_video(frames, folder / "a.mp4", fps=FPS, audio=audio, sample_rate=SAMPLE_RATE, settings=MuxSettings(crf=19))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    frames = make_video()
    audio = 0.1 * torch.randn(2, FRAMES * SAMPLE_RATE // FPS)
    with tempfile.TemporaryDirectory() as folder:
        runs = [seconds_to_write(frames, audio, Path(folder)) for _ in range(parser.parse_args().repeats)]
    best, middle = FRAMES / min(runs), FRAMES / statistics.median(runs)
    sys.stdout.write(json.dumps({"frames_per_second": round(middle, 1), "best": round(best, 1)}) + "\n")


if __name__ == "__main__":
    main()
