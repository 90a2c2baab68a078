"""Measures the cost of live previews in Bounce, as ratios of medians of interleaved runs with and without them.

python -m duet_av.benchmarks.preview [--runs N] [--cpu] [--sheets FOLDER]

first: runs that begin without anything learned, as the first after a start. later: runs that use what those before have learned.
--sheets: saves the previews of one first run beside exact decodes of the same latents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from ..av_models import preview
from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVLatent
from ..av_models.guidance import make_guidance
from ..av_models.joint_model import JointModel
from ..av_models.noise import NoiseSource
from ..av_models.sampling import RunOptions, sample
from ..av_models.schedule import SamplingSchedule
from ..bounce.shipped import load_joint_model
from ..nodes.live_preview import preview_payload

SCHEDULE = SamplingSchedule(20, 5.0, eta=2.0)
PROMPTS = "a red metal ball bouncing", "a metal ball"
OnStep = Callable[[int, int, AVLatent], None]


def make_sampling(model: JointModel) -> Callable[[OnStep], None]:
    """Returns a function that samples a clip with Bounce's own settings."""
    prompted = PromptedModel(model.denoiser, model.encode(*PROMPTS), model.encode("", ""))
    guidance = make_guidance("joint_cfg", video_scale=2.5, audio_scale=2.5)
    noise = NoiseSource(model.latent_shape(model.shape()), 1, 2)

    def run(on_step: OnStep) -> None:
        sample(prompted, noise, guidance, SCHEDULE, options=RunOptions(on_step=on_step))

    return run


def measure(model: JointModel, runs: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Returns seconds without previews, the ratios with them, and the number of previews in a run."""
    run, shape = make_sampling(model), model.shape()
    took: dict[str, list[float]] = {"without": [], "first": [], "later": []}
    counts: dict[str, list[int]] = {name: [] for name in took}

    def timed(name: str) -> None:
        sent: list[str] = []
        previewer = None if name == "without" else preview.Previewer(model, shape, clock)

        def on_step(step: int, steps: int, x0: AVLatent) -> None:
            shown = previewer and previewer.render_if_due(step, steps, x0, lambda: False)
            if shown:
                sent.append(json.dumps(preview_payload(shown)))

        began = clock()
        run(on_step)
        took[name].append(clock() - began)
        counts[name].append(len(sent))

    for _ in tqdm(range(runs + 1), desc="preview"):
        timed("without")
        preview._painters.clear()
        timed("first")
        timed("later")
    medians = {name: statistics.median(each[1:]) for name, each in took.items()}  # the first warms up
    ratios = {name: round(medians[name] / medians["without"], 4) for name in ("first", "later")}
    previews = {name: statistics.median(counts[name][1:]) for name in ratios}
    return {"seconds": round(medians["without"], 3), "ratio": ratios, "previews": previews}


def save_sheets(model: JointModel, folder: Path) -> None:
    """Saves each preview of one run, and the exact decode of the same latents."""
    shape = model.shape()
    preview._painters.clear()
    previewer = preview.Previewer(model, shape)
    folder.mkdir(parents=True, exist_ok=True)

    def save(step: int, steps: int, x0: AVLatent) -> None:
        shown = previewer.render_if_due(step, steps, x0, lambda: False)
        if shown is not None:
            exact = preview.make_sheet((model.decode_video(x0.video, shape)[0] * 255).byte(), shape.video, 1.0)
            for name, each in (("preview", shown), ("exact", exact)):
                Image.open(BytesIO(each.sheet)).save(folder / f"step{step:02}_{name}.png")

    make_sampling(model)(save)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--cpu", action="store_true", help="measure CPU time instead of wall time, for a busy machine")
    parser.add_argument("--sheets", type=Path, help="a folder for pictures")
    args = parser.parse_args()
    model = load_joint_model("Bounce")
    if args.sheets:
        save_sheets(model, args.sheets)
    sys.stdout.write(json.dumps(measure(model, args.runs, time.process_time if args.cpu else time.perf_counter)) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
