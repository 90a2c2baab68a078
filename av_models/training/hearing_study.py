"""Does hearing help seeing? The pair study of AVFullDiT (arXiv 2512.02457, section 5) on Bounce.

Every arm is trained from the same experts on the same clips in the same order, then makes a picture for the same prompts
from the same noise. A killed study goes on where it was: runs resume, checkpoints and measured clips stay.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..binders.bounce_bind import load_bounce_bind
from ..bounce.captions import captions
from ..bounce.evaluate import true_clips
from ..bounce.generate import Prompt, generate
from ..bounce.hearing_measures import measure, paired_effect, subsets
from ..bounce.json_lines import add_line, read_lines
from ..bounce.render import render
from ..bounce.sound import render_sound
from ..bounce.world import FPS, Worlds, simulate
from ..contract import AVCondition, AVLatent, AVTime, CouplingKind
from ..guidance import make_guidance
from ..joint_model import JointModel, load_joint_model
from ..metrics.frechet import frechet
from ..metrics.intervals import mean_interval
from .arm import Progress, checkpoint_of, train_arm
from .config import read_config
from .flow import noised
from .hearing_arms import SEEDS, Arm, arms

RESULTS = "results.json"
SCALE, STEPS, SHIFT = 2.5, 20, 5.0  # CFG for every arm: no strategy that needs the other modality
LOSS_TIMES = (0.5, 0.7, 0.85, 0.95)
REFERENCE_CLIPS, VALIDATION_CLIPS = 2000, 128


def study(config: Path, folder: Path, clips: int, progress: Progress) -> dict[str, Any]:
    """Trains and measures what is not there yet, in `folder`; returns {"arms": {name: …}, "effects": {subset: {measure: …}}}."""
    settings, binder = read_config(config), load_bounce_bind()
    if clips <= binder.config["out"]:
        raise ValueError(f"clips is {clips}; a Fréchet distance needs more than {binder.config['out']}")
    planned = arms(settings["stage_config"]["batch"])
    for arm in planned:
        train_arm(arm.name, changed(settings, arm), config, folder, progress)
    worlds = simulate(clips, "test", seed=0)
    measured = {arm.name: measure_arm(arm, folder, worlds, progress) for arm in planned}
    measured["truth"] = measure_truth(folder, worlds, progress)
    found = {"arms": summary(planned, measured, folder, progress), "effects": effects(measured, worlds), "clips": clips}
    (folder / RESULTS).write_text(json.dumps(found, indent=1) + "\n")
    return found


def changed(settings: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """The common settings with what an arm changes."""
    own = deepcopy(settings) | {"seed": arm.seed}
    own["stage_config"] |= arm.stage
    own["data"] |= {"sound": arm.sound}
    return own


def measure_arm(arm: Arm, folder: Path, worlds: Worlds, progress: Progress) -> list[dict[str, Any]]:
    """What `measure` says of each prompt's clip, and its features."""
    lines = _Lines(folder / "clips" / f"{arm.name}.jsonl")
    if len(lines.known) < len(worlds):
        model, binder = load_joint_model(checkpoint_of(arm.name, folder)), load_bounce_bind()
        prompts = [Prompt(*pair) for pair in zip(*captions(worlds, 0, drop=0.0))]
        first = len(lines.known)
        guidance = make_guidance("cfg", video_scale=SCALE, audio_scale=SCALE, removed=not arm.hears)
        made = generate(model, prompts[first:], guidance, steps=STEPS, shift=SHIFT, seed=1_000_000 + first)
        for row, (frames, _) in enumerate(made, first):
            lines.add(_measured(frames.numpy(), worlds, row, binder))
            progress(f"measuring {arm.name}", row + 1, len(worlds))
    return lines.known[: len(worlds)]


def measure_truth(folder: Path, worlds: Worlds, progress: Progress) -> list[dict[str, Any]]:
    """The same of the true clips: what the tracker itself gets wrong."""
    lines = _Lines(folder / "clips" / "truth.jsonl")
    if len(lines.known) < len(worlds):
        binder = load_bounce_bind()
        for row, (frames, _, _) in enumerate(true_clips(worlds)):
            if row >= len(lines.known):
                lines.add(_measured(np.asarray(frames), worlds, row, binder))
            progress("measuring true clips", row + 1, len(worlds))
    return lines.known[: len(worlds)]


@torch.no_grad()
def _measured(frames: np.ndarray, worlds: Worlds, row: int, binder) -> dict[str, Any]:
    features = binder.embed_video(torch.from_numpy(np.ascontiguousarray(frames))[None], FPS)[0]
    return {**measure(frames, worlds, row), "features": [round(float(x), 5) for x in features]}


def summary(planned: Sequence[Arm], measured: dict, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Of each arm: the mean of every measure and its interval, the Fréchet distance to true clips, the validation loss."""
    true = _true_features(folder, progress)
    found = {}
    for name, clips in measured.items():
        values = {key: np.array([clip[key] for clip in clips], float) for key in clips[0] if key != "features"}
        found[name] = {key: float(each.mean()) for key, each in values.items()}
        found[name]["intervals"] = {key: list(mean_interval(each)) for key, each in values.items()}
        found[name]["frechet"] = frechet(np.array([clip["features"] for clip in clips]), true)
    for number, arm in enumerate(planned):
        found[arm.name]["validation_loss"] = validation_loss(load_joint_model(checkpoint_of(arm.name, folder)), arm.hears)
        progress("validation loss", number + 1, len(planned))
    return found


def effects(measured: dict[str, list[dict]], worlds: Worlds) -> dict[str, dict[str, Any]]:
    """Hearing against not, over prompts and seeds, in every subset."""
    found: dict[str, dict[str, Any]] = {}
    for subset, where in subsets(worlds).items():
        rows = np.flatnonzero(where)
        for key in measured["truth"][0]:
            if key != "features":
                hearing, deaf = (_by_seed(measured, kind, rows, key) for kind in ("t2av", "t2v"))
                found.setdefault(subset, {"n": len(rows)})[key] = paired_effect(hearing, deaf)
    return found


def _by_seed(measured: dict[str, list[dict]], kind: str, rows: np.ndarray, key: str) -> np.ndarray:
    """A measure of either kind of model, [seeds, prompts]."""
    return np.array([[measured[f"{kind}_{seed}"][row][key] for row in rows] for seed in SEEDS])


@torch.no_grad()
def validation_loss(model: JointModel, hears: bool) -> float:
    """The mean squared error of the picture's velocity on validation clips, at fixed times and with fixed noise."""
    worlds = simulate(VALIDATION_CLIPS, "val", seed=0)
    clean = _latents(model, worlds)
    seen, heard = captions(worlds, 0)
    asked = AVCondition(model.conditioner.video_text(seen), model.conditioner.audio_text(heard))
    kinds = [CouplingKind.FULL if hears else CouplingKind.REMOVED] * len(worlds)
    errors = []
    for number, t in enumerate(LOSS_TIMES):
        torch.manual_seed(number)
        times = torch.full((len(worlds),), t)
        (x_v, velocity), (x_a, _) = noised(clean.video, times), noised(clean.audio, times)
        out = model.denoiser.predict(AVLatent(x_v, x_a), AVTime(times, times), asked, kinds)
        errors.append(float((out.video - velocity).square().mean()))
    return float(np.mean(errors))


def _latents(model: JointModel, worlds: Worlds) -> AVLatent:
    frames = torch.from_numpy(render(worlds, model.clip.height)).float() / 255
    return AVLatent(model.video_codec.encode(frames), model.audio_codec.encode(torch.from_numpy(render_sound(worlds))[:, None]))


@torch.no_grad()
def _true_features(folder: Path, progress: Progress) -> np.ndarray:
    lines = _Lines(folder / "clips" / "reference.jsonl")
    if len(lines.known) < REFERENCE_CLIPS:
        binder, worlds = load_bounce_bind(), simulate(REFERENCE_CLIPS, "val", seed=1)
        for row in range(len(lines.known), REFERENCE_CLIPS):
            frames = torch.from_numpy(render(worlds[row : row + 1], 64)[:, :32]).float() / 255
            lines.add({"features": [round(float(x), 5) for x in binder.embed_video(frames, FPS)[0]]})
            progress("features of true clips", row + 1, REFERENCE_CLIPS)
    return np.array([line["features"] for line in lines.known])


class _Lines:
    """A file of measurements that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, read_lines(path)

    def add(self, facts: dict[str, Any]) -> None:
        add_line(self.path, facts)
        self.known.append(facts)
