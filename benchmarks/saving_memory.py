"""Measures the memory that decoding and saving a clip needs: all frames first, or frames that are decoded while they are saved.

python -m duet_av.benchmarks.saving_memory [--seconds 30] [--size 384]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ..av_models.contract import AVLatent
from ..av_models.joint_model import JointModel
from ..av_models.media import write_video
from ..av_models.memory import estimate_decoding
from ..av_models.shapes import AVShape
from ..bounce.shipped import BOUNCE, load_joint_model
from .peak_memory import forget_peak, peak, resident

WAYS = ("whole", "streamed")


def measure(way: str, seconds: float, size: int, folder: Path) -> dict[str, float]:
    """Saves a clip of random latents of Bounce. Returns the memory and the time that this takes."""
    model = load_joint_model(BOUNCE)
    shape = model.shape(seconds=seconds, height=size, width=size)
    latents = model.latent_shape(shape)
    latent = AVLatent(torch.randn(latents.video), torch.randn(latents.audio))
    before, start = resident(), time.perf_counter()
    forget_peak()
    save(way, model, latent, shape, folder / "a.mp4")
    frames = 4 * 3 * shape.video.frames * size * size
    return {
        "frames_gb": round(frames / 1e9, 2), "peak_gb": round((peak() - before) / 1e9, 2),
        "estimate_whole_gb": round(estimate_decoding(model.video_codec, latents.video) / 1e9, 2),
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip


@torch.no_grad()
def save(way: str, model: JointModel, latent: AVLatent, shape: AVShape, path: Path) -> None:
    """Decodes and saves a clip."""
    frames = model.stream_video(latent.video, shape) if way == "streamed" else model.decode_video(latent.video, shape)[0]
    audio = model.decode_audio(latent.audio, shape)[0]
    write_video(frames, path, fps=shape.video.fps, audio=audio, sample_rate=shape.audio.sample_rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--size", type=int, default=384, help="height and width in pixels")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(json.dumps(measure(args.way, args.seconds, args.size, Path(folder))))
        return
    for way in WAYS:  # each in a new process
        command = [
            sys.executable,
            "-m",
            "duet_av.benchmarks.saving_memory",
            "--way",
            way,
            f"--seconds={args.seconds}",
            f"--size={args.size}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sys.stdout.write(json.dumps({"way": way, **json.loads(done.stdout)}) + "\n")


if __name__ == "__main__":
    main()
