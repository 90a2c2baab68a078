"""Do two experts that never met agree when a binder aligns them? Against the same two left apart, and against Bounce.

Prompts name no attribute, so that agreement cannot come from the words. Every arm is a line of `results.jsonl`; one that is
there is not measured again, so that a killed study goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.alignment import Alignment
from ...av_models.binders.base import Binder
from ...av_models.binders.ensemble import BinderEnsemble
from ...av_models.guidance import make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.latent_aligner import Aligner, Reference
from ...av_models.metrics.intervals import mean_and_interval
from ..binder import load_bounce_bind
from ..detect.attributes import observe
from ..measure.agreement import agreement, heard_kinds, seen_kinds, true_kinds
from ..measure.evaluate import sync
from ..measure.fidelity import fidelity
from ..measure.generate import Prompt, generate
from ..measure.likeness import similarity
from ..measure.run_eval import chosen
from ..measure.tasks import given_of
from ..shipped import BOUNCE_BIND
from ..world.captions import A_BALL_BOUNCING, JUST_BOUNCING
from ..world.render import render
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import FPS, FRAMES, Worlds, simulate
from .json_lines import Kept
from .tables import table

RESULTS = "results.jsonl"
PROMPT, BOUNCE_PROMPT = JUST_BOUNCING, A_BALL_BOUNCING
"""Bounce never heard the word alone, and agrees less when it is all that it is told."""
BATCH = 5  # small ones fit the cache
FIRST_SEED = {"test": 1_000_000, "val": 5_000_000}
EXPERTS_FIRST_SEED = FIRST_SEED | {"test": 7_000_000}
"""Where nothing is given, seeds are all that tells a split's clips from another's, and settings were tried on earlier ones."""
CLIPPED = 0.999
GIVEN = {"joint": "t2av", "v2a": "v2a", "a2v": "a2v", "i2a": "v2a"}  # what of the true clip is kept, by a task's name elsewhere
ByTask = Mapping[str, Mapping[str, Any]]
"""An aligner's settings for each task, and where it has one, by name, a binder beside the study's own."""
_ALIKE: dict[str, Any] = {
    "inner_steps": 4, "first": 0.0, "last": 0.5, "through_denoiser": True, "steps_ahead": 3, "words": 0.0,
    "latent_frames": 3, "save_memory": False, "second_binder": BOUNCE_BIND,
}  # fmt: skip
_PICTURE = {**_ALIKE, "update": "sign", "video_rate": 0.03, "audio_rate": 0.0, "keep": "rms", "turns": True}
_SOUND = {**_ALIKE, "update": "adam", "audio_rate": 0.15, "keep": "spectrum"}
SETTINGS = {"joint": _PICTURE | {"inner_steps": 6, "first": 0.3, "last": 0.65}, "v2a": _SOUND, "a2v": _PICTURE, "i2a": _SOUND}
_SAMPLED: dict[str, Any] = {"steps": 40, "shift": 8.0, "eta": 0.0}
EXPERTS: dict[str, dict[str, Any]] = {
    "joint": {**_SAMPLED, "shift": 16.0, "audio_shift": 1.0}, "v2a": {**_SAMPLED, "eta": 0.5}, "a2v": _SAMPLED,
    "i2a": {**_SAMPLED, "eta": 0.5},
}  # fmt: skip
"""How the experts are sampled for each task, aligned or apart. In joint, the sound is ahead: its picture stays noise until
there is something to hear, then is moved, and then guided."""
GUIDED: dict[str, dict[str, Any]] = {"joint": {"video_scale": 2.5, "audio_scale": 1.0, "interval_high": 0.9}}
"""The experts' CFG, where they have any: below the time at which joint's picture no longer moves."""


@dataclass(frozen=True)
class Arm:
    """`kind`: "apart" (the experts alone), "aligned" (the same, aligned) or "joint" (Bounce, at eta 0)."""

    task: str
    kind: str
    split: str
    n: int

    @property
    def prompt(self) -> str:
        return BOUNCE_PROMPT if self.kind == "joint" else PROMPT

    @property
    def first_seed(self) -> int:
        return (FIRST_SEED if self.kind == "joint" else EXPERTS_FIRST_SEED)[self.split]

    def key(self, settings: ByTask) -> str:
        settled = {} if self.kind == "joint" else EXPERTS[self.task] | GUIDED.get(self.task, {})
        aligned = dict(settings[self.task]) if self.kind == "aligned" else {}
        extra = {"prompt": self.prompt, "seed": self.first_seed} | settled | aligned
        return " ".join([f"{self.task} {self.kind} {self.split} {self.n}", *(f"{name}={value}" for name, value in extra.items())])


def arms(split: str, n: int) -> list[Arm]:
    """I2A has no counterpart in Bounce, which goes by whole pictures or none."""
    tried = [(task, kind) for task in GIVEN for kind in ("apart", "aligned", "joint")]
    return [Arm(task, kind, split, n) for task, kind in tried if (task, kind) != ("i2a", "joint")]


def study(
    experts: JointModel, joint: JointModel, binder: Binder, folder: Path, n: int, on_clip: Callable[[str, int, int], None],
    split: str = "test", settings: ByTask = SETTINGS,
) -> dict[tuple[str, str], dict[str, Any]]:  # fmt: skip
    """Figures of every arm, by task and kind. `experts`: never trained as a pair; `joint`: the same two, woven and trained."""
    kept, found = Kept(folder / RESULTS), {}
    for arm in arms(split, n):
        key, model = arm.key(settings), joint if arm.kind == "joint" else experts
        make = partial(measure, arm, model, binder, settings, partial(on_clip, key))
        found[arm.task, arm.kind] = kept.figures(key, make)
    return found


def measure(arm: Arm, model: JointModel, binder: Binder, settings: ByTask, on_clip: Callable[[int, int], None]) -> dict[str, Any]:
    """One arm: agreement, sync, what the binder says, how the clips look and ring, and seconds a clip."""
    worlds = simulate(arm.n, arm.split)
    start = time.perf_counter()
    clips = [(*clip, SAMPLE_RATE) for clip in _clips(arm, model, binder, settings, worlds, on_clip)]
    seconds = time.perf_counter() - start
    observed = [observe(*clip, FPS) for clip in clips]
    true = [true_kinds(worlds, row) for row in range(arm.n)]
    seen = true if GIVEN[arm.task] == "v2a" else [seen_kinds(frames) for frames, *_ in clips]
    heard = true if arm.task == "a2v" else [heard_kinds(each) for each in observed]
    (alike, alike_ci), met = mean_and_interval(similarity(clips, binder, float(FPS))), sync(observed)
    return {
        "task": arm.task, "kind": arm.kind, "n": arm.n, "split": arm.split, **agreement(seen, heard),
        "similarity": alike, "similarity_ci": alike_ci,
        "sync_f1": met["sync_f1"], "sync_ci": met["sync_ci"], "sync_chance": met["chance"],
        "fidelity_db": round(float(np.median([fidelity(frames) for frames, *_ in clips])), 2),
        "silent": round(float(np.mean([len(each.onsets) == 0 for each in observed])), 4),
        "clipped": round(float(np.mean([_clipped(wave) for _, wave, _ in clips])), 4),
        "seconds_per_clip": round(seconds / arm.n, 3),
    }  # fmt: skip


def _clips(
    arm: Arm, model: JointModel, binder: Binder, settings: ByTask, worlds: Worlds, on_clip: Callable[[int, int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    if arm.kind == "joint":
        settled = chosen(model)
        sampled = {"steps": settled.steps, "shift": settled.shift, "eta": 0.0}
        strategy = make_guidance(settled.guidance, video_scale=settled.scale, audio_scale=settled.scale)
    else:
        sampled, guided = EXPERTS[arm.task], GUIDED.get(arm.task)
        strategy = make_guidance("cfg", removed=True, **guided) if guided else make_guidance("none", removed=True)
    alignment = _alignment(arm, model, binder, settings, worlds) if arm.kind == "aligned" else None
    given = given_of(GIVEN[arm.task], model, worlds)
    prompts = [Prompt(arm.prompt, arm.prompt)] * arm.n
    return generate(
        model, prompts, strategy, **sampled, seed=arm.first_seed, batch=BATCH, given=given, alignment=alignment, on_clip=on_clip,
    )  # fmt: skip


def _alignment(arm: Arm, model: JointModel, binder: Binder, settings: ByTask, worlds: Worlds) -> Callable[[int, int], Alignment]:
    settled = dict(settings[arm.task])
    if second := settled.pop("second_binder", None):
        binder = BinderEnsemble(binder, load_bounce_bind(second))
    aligner = Aligner(binder=binder, task=arm.task, **settled)

    def alignment(start: int, stop: int) -> Alignment:
        part = worlds[start:stop]
        frames = torch.from_numpy(render(part, model.clip.height)[:, :FRAMES]).float() / 255
        sounds = torch.from_numpy(render_sound(part))[:, None]
        reference = Reference(video=frames, fps=float(FPS), image=frames[:, 0], audio=sounds, sample_rate=SAMPLE_RATE)
        return aligner.begin(model, model.shape(), (arm.prompt, arm.prompt), reference)

    return alignment


def _clipped(wave: Tensor) -> float:
    """The share of samples that are as loud as can be."""
    return float((wave.abs() > CLIPPED).float().mean())


def way(found: Mapping[tuple[str, str], Mapping[str, Any]], task: str) -> float:
    """How far aligned experts come from chance (0) to the joint model (1) in their mean agreement."""
    aligned, joint = found[task, "aligned"], found[task, "joint"]
    chance = aligned["mean_chance"]
    return (aligned["mean"]["share"] - chance) / (joint["mean"]["share"] - chance)


def markdown_table(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Every arm: shares and similarity with 95 % intervals, and shuffled pairs in brackets behind agreement. `way`: how far
    aligned experts come from chance to the joint model."""
    measured = ("material", "size", "number", "mean", "binder", "sync", "picture, dB", "silent", "clipped", "s a clip")
    head = ["task", "experts", *measured, "way"]
    rows = [[task, kind, *_figures(each), _way(found, task, kind)] for (task, kind), each in found.items()]
    return table(head, rows)


def _way(found: Mapping[tuple[str, str], Mapping[str, Any]], task: str, kind: str) -> str:
    return f"{way(found, task):.0%}" if kind == "aligned" and (task, "joint") in found else "–"


def _figures(each: Mapping[str, Any]) -> list[str]:
    def share(of: Mapping[str, Any], chance: float) -> str:
        low, high = (100 * v for v in of["ci"])
        return f"{100 * of['share']:.0f} [{low:.0f}, {high:.0f}] ({100 * chance:.0f})"

    return [
        *(share(each["shares"][name], each["chance"][name]) for name in each["shares"]),
        share(each["mean"], each["mean_chance"]),
        "{:.2f} [{:.2f}, {:.2f}]".format(each["similarity"], *each["similarity_ci"]),
        f"{each['sync_f1']:.2f} ({each['sync_chance']:.2f})",
        f"{each['fidelity_db']:.1f}", f"{each['silent']:.0%}", f"{each['clipped']:.1%}", f"{each['seconds_per_clip']:.1f}",
    ]  # fmt: skip
