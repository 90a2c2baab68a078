"""Does hearing help seeing? The pair study of AVFullDiT (arXiv 2512.02457, section 5) on Bounce.

Every arm is trained from the same experts on the same clips in the same order, then makes a picture for the same prompts
from the same noise. A killed study goes on where it was: runs resume, and what was measured stays. Of an arm that is measured
the checkpoint is needed no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.binders.base import Binder
from ...av_models.clip_latent import encode_clip, everything, known_where, nothing
from ...av_models.contract import AVLatent
from ...av_models.guidance import make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.metrics.frechet import frechet
from ...av_models.metrics.intervals import mean_interval
from ..binder import load_bounce_bind
from ..measure.evaluate import true_clips
from ..measure.generate import Prompt, sampled
from ..measure.hearing_measures import measure, paired_effect, subsets
from ..shipped import BOUNCE, load_joint_model
from ..training.stages import read_config
from ..world.captions import captions
from ..world.render import render
from ..world.world import FPS, FRAMES, Worlds, simulate
from .hearing_arms import SEEDS, Arm, arms, pair
from .hearing_loss import use_of_sound, validation_loss
from .json_lines import Kept, add_line, read_lines
from .train_arm import Progress, checkpoint_of, train_arm

RESULTS = "results.json"
SCALE, STEPS, SHIFT = 2.5, 12, 5.0  # CFG for every arm: no strategy that needs the other modality
REFERENCE_CLIPS = 2000


def study(config: Path, folder: Path, clips: int, progress: Progress, only_pair: bool = False) -> dict[str, Any]:
    """Trains and measures what is not there yet, in `folder`; returns {"arms": {name: …}, "effects": {subset: {measure: …}},
    "singles": (see `singles`), "use": {name: {"use", "interval"}}}, the last of each arm that hears and of Bounce (see
    `use_of_sound`).

    `only_pair`: of looser worlds and ablations, only what is measured already.
    """
    settings, binder = read_config(config), load_bounce_bind()
    if clips <= binder.config["out"]:
        raise ValueError(f"clips is {clips}; a Fréchet distance needs more than {binder.config['out']}")
    planned = arms(settings["stage_config"]["batch"])
    if only_pair:
        wanted = {arm.name for arm in pair(settings["stage_config"]["batch"])}
        planned = [arm for arm in planned if arm.name in wanted or is_measured(arm.name, folder, clips, arm.hears)]
    worlds = simulate(clips, "test", seed=0)
    measured = {"truth": measure_truth(folder, worlds, binder, progress)}
    for arm in planned:
        if not is_measured(arm.name, folder, clips, arm.hears):
            train_arm(arm.name, changed(settings, arm), config, folder, progress)
        measured[arm.name] = measure_arm(arm, folder, worlds, binder, progress)
    use = {arm.name: use_of(arm.name, checkpoint_of(arm.name, folder), folder) for arm in planned if arm.hears}
    use[BOUNCE] = use_of(BOUNCE, BOUNCE, folder)
    found = {"arms": summary(measured, folder), "effects": effects(measured, worlds), "singles": singles(measured), "use": use}
    found["clips"] = clips
    (folder / RESULTS).write_text(json.dumps(found, indent=1) + "\n")
    return found


def changed(settings: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """The common settings with what an arm changes."""
    own = deepcopy(settings) | {"seed": arm.seed}
    own["stage_config"] |= arm.stage | {"name": f"Hearing study {arm.name}"}
    own["data"] |= {"sound": arm.sound}
    return own


def is_measured(name: str, folder: Path, clips: int, hears: bool = False) -> bool:
    figures = {_figure(name, clips)} | ({_use(name)} if hears else set())
    return len(_clips(name, folder).known) >= clips and figures <= _figures(folder).known.keys()


def use_of(name: str, model: str | Path, folder: Path) -> dict[str, Any]:
    return _figures(folder).figures(_use(name), lambda: use_of_sound(load_joint_model(model)))


def measure_arm(arm: Arm, folder: Path, worlds: Worlds, binder: Binder, progress: Progress) -> list[dict[str, Any]]:
    """What `measure` says of each prompt's clip; keeps the Fréchet distance and the validation loss."""
    if not is_measured(arm.name, folder, len(worlds)):
        model = load_joint_model(checkpoint_of(arm.name, folder))
        _measure_clips(arm.name, lambda first: _pictures(model, arm, worlds, first), folder, worlds, binder, progress)

        def loss() -> dict[str, float]:
            return {"validation_loss": validation_loss(model, arm.hears)}

        _keep_figures(arm.name, folder, len(worlds), binder, progress, loss)
    return _clips(arm.name, folder).known[: len(worlds)]


def _pictures(model: JointModel, arm: Arm, worlds: Worlds, first: int) -> Iterator[Tensor]:
    """Frames [F, H, W, 3] for each prompt from number `first` on. A deaf model is given its sound, which it does not hear,
    so that the sound's tower need not run."""
    prompts = [Prompt(*pair) for pair in zip(*captions(worlds, 0, drop=0.0))]
    guidance = make_guidance("cfg", video_scale=SCALE, audio_scale=SCALE, removed=not arm.hears)
    shape = model.shape()

    def silence(start: int, stop: int) -> KnownParts:
        clips = AVLatent.cat([encode_clip(model, shape, None, None)] * (stop - start))
        return KnownParts(clips, known_where(model, shape, nothing, everything).to(model.device), model.known_mode)

    latents = sampled(
        model, prompts[first:], guidance, steps=STEPS, shift=SHIFT, seed=1_000_000 + first, given=None if arm.hears else silence
    )
    for latent in latents:
        yield from model.decode_video(latent.video, shape)


def measure_truth(folder: Path, worlds: Worlds, binder: Binder, progress: Progress) -> list[dict[str, Any]]:
    """The same of the true clips: what the tracker itself gets wrong."""
    if not is_measured("truth", folder, len(worlds)):
        _measure_clips("truth", lambda first: (clip[0] for clip in true_clips(worlds[first:])), folder, worlds, binder, progress)
        _keep_figures("truth", folder, len(worlds), binder, progress)
    return _clips("truth", folder).known[: len(worlds)]


def _measure_clips(
    name: str, pictures: Callable[[int], Iterator[Tensor]], folder: Path, worlds: Worlds, binder: Binder, progress: Progress
) -> None:
    """Goes on where features end; measures may already be there, since features are not shipped. `pictures(first)`: the
    frames [F, H, W, 3] of each prompt from number `first` on."""
    lines, features = _clips(name, folder), _features(name, folder)
    first = len(features.known)
    for row, frames in enumerate(pictures(first), first):
        if row >= len(lines.known):
            lines.add(measure(frames.numpy(), worlds, row))
        features.add(_embedded(frames, binder))
        progress(f"measuring {name}", row + 1, len(worlds))


@torch.no_grad()
def _embedded(frames: Tensor, binder: Binder) -> dict[str, Any]:
    return {"features": [round(float(x), 5) for x in binder.embed_video(frames[None], FPS)[0]]}


def _keep_figures(
    name: str, folder: Path, clips: int, binder: Binder, progress: Progress, more: Callable[[], dict[str, float]] = dict
) -> None:
    """Beside `more`, the Fréchet distance between the clips' pictures and true ones, in Bounce-Bind's space."""

    def figures() -> dict[str, float]:
        made = [line["features"] for line in _features(name, folder).known[:clips]]
        return {"frechet": frechet(np.array(made), _true_features(folder, binder, progress))} | more()

    _figures(folder).figures(_figure(name, clips), figures)


def summary(measured: dict[str, list[dict]], folder: Path) -> dict[str, dict[str, Any]]:
    """Of each arm: the mean of every measure and its interval, and the figures of it as a whole."""
    found = {}
    for name, clips in measured.items():
        values = _values(clips)
        found[name] = {key: float(each.mean()) for key, each in values.items()}
        found[name]["intervals"] = {key: list(mean_interval(each)) for key, each in values.items()}
        found[name] |= _figures(folder).known[_figure(name, len(clips))]
    return found


def effects(measured: dict[str, list[dict]], worlds: Worlds) -> dict[str, dict[str, Any]]:
    """Hearing against not, over prompts and seeds, in every subset."""
    found: dict[str, dict[str, Any]] = {}
    for subset, where in subsets(worlds).items():
        rows = np.flatnonzero(where)
        for key in measured["truth"][0]:
            hearing, deaf = (_by_seed(measured, kind, rows, key) for kind in ("t2av", "t2v"))
            found.setdefault(subset, {"n": len(rows)})[key] = paired_effect(hearing, deaf)
    return found


def singles(measured: dict[str, list[dict]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The runs of one seed against those of the pair with that seed, over prompts: {name: {"t2v": {measure: …}, "t2av": …}}."""
    build_pair = {f"{kind}_{seed}" for kind in ("t2av", "t2v") for seed in SEEDS}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in measured.keys() - build_pair - {"truth"}:
        own = _values(measured[name])
        for kind in ("t2v", "t2av"):
            other = _values(measured[f"{kind}_{SEEDS[0]}"])
            found.setdefault(name, {})[kind] = {key: paired_effect(own[key][None], other[key][None]) for key in own}
    return {name: found[name] for name in measured if name in found}


def _values(clips: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Every measure over clips, [N]."""
    return {key: np.array([clip[key] for clip in clips], float) for key in clips[0]}


def _by_seed(measured: dict[str, list[dict]], kind: str, rows: np.ndarray, key: str) -> np.ndarray:
    """A measure of either kind of model, [seeds, prompts]."""
    return np.array([[measured[f"{kind}_{seed}"][row][key] for row in rows] for seed in SEEDS])


def _true_features(folder: Path, binder: Binder, progress: Progress) -> np.ndarray:
    lines = _features("reference", folder)
    if len(lines.known) < REFERENCE_CLIPS:
        worlds = simulate(REFERENCE_CLIPS, "val", seed=1)
        for row in range(len(lines.known), REFERENCE_CLIPS):
            frames = torch.from_numpy(render(worlds[row : row + 1], 64)[0, :FRAMES]).float() / 255
            lines.add(_embedded(frames, binder))
            progress("features of true clips", row + 1, REFERENCE_CLIPS)
    return np.array([line["features"] for line in lines.known])


def _clips(name: str, folder: Path) -> _Lines:
    return _Lines(folder / "clips" / f"{name}.jsonl")


def _features(name: str, folder: Path) -> _Lines:
    return _Lines(folder / "features" / f"{name}.jsonl")


def _figures(folder: Path) -> Kept:
    return Kept(folder / "figures.jsonl")


def _figure(name: str, clips: int) -> str:
    return f"{name} {clips}"


def _use(name: str) -> str:
    return f"{name} use of sound"


class _Lines:
    """A file of measurements that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, read_lines(path)

    def add(self, facts: dict[str, Any]) -> None:
        add_line(self.path, facts)
        self.known.append(facts)
