"""`python -m duet_av.bounce.export_clips FOLDER`: writes simulated clips as mp4 files with captions beside them.

They are a folder of sounding videos like those that users train on (docs/train.md). `--shuffled` gives each clip the sound and the
sound's caption of another clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..av_models.media import write_video
from .world.captions import captions
from .world.render import render
from .world.sound import SAMPLE_RATE, render_sound
from .world.world import FPS, FRAMES, SPLITS, simulate

AT_ONCE, SIZE = 32, 64


def export_clips(folder: Path, clips: int, *, split: str = "train", seed: int = 0, shuffled: bool = False) -> None:
    """Write `clips` clips of 2 s to `folder`: NNNNN.mp4, and NNNNN.txt with the captions of video and audio.

    seed: of the simulation, and of the captions.
    """
    worlds = simulate(clips, split, seed)
    seen, heard = captions(worlds, seed)
    others = np.arange(clips)
    if shuffled:
        order = np.random.default_rng(seed).permutation(clips)
        others[order] = np.roll(order, 1)
    for start in range(0, clips, AT_ONCE):
        rows = np.arange(start, min(clips, start + AT_ONCE))
        frames = torch.from_numpy(render(worlds[rows], SIZE))[:, :FRAMES]
        waves = torch.from_numpy(render_sound(worlds[others[rows]]))[:, None]
        for row, each, wave in zip(rows.tolist(), frames, waves):
            path = folder / f"{row:05}.mp4"
            write_video(each, path, fps=FPS, audio=wave, sample_rate=SAMPLE_RATE)
            path.with_suffix(".txt").write_text(f"{seen[row]}\n{heard[others[row]]}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m duet_av.bounce.export_clips", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--clips", type=int, default=200, metavar="N", help="number of clips (200)")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true", help="give each clip the sound of another one")
    args = parser.parse_args(arguments)
    export_clips(args.folder, args.clips, split=args.split, seed=args.seed, shuffled=args.shuffled)
    print(f"{args.clips} clips: {args.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
