"""The aligner study: does an aligner make two experts agree that were trained separately?

The aligned experts are compared to the same experts without alignment, and to Bounce, their joint model. The prompts name no
attributes, so agreement cannot come from the prompts. Each arm is stored as a line of `results.jsonl` and not measured
again, so that an interrupted study can be resumed.
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
from ...av_models.schedule import SamplingSchedule
from ..binder import load_binder
from ..detect.attributes import observe
from ..measure.agreement import agreement, audio_kinds, true_kinds, video_kinds
from ..measure.evaluate import measure_sync
from ..measure.fidelity import fidelity
from ..measure.generate import Prompt, SampleInputs, generate
from ..measure.likeness import similarity
from ..measure.run_eval import default_settings
from ..measure.tasks import task_known_parts
from ..shipped import BOUNCE_BIND
from ..world.captions import A_BALL_BOUNCING, JUST_BOUNCING
from ..world.render import render
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import FPS, FRAMES, Worlds, simulate
from .json_lines import ResultStore
from .tables import format_interval, format_percent, format_table

RESULTS = "results.jsonl"
PROMPT, BOUNCE_PROMPT = JUST_BOUNCING, A_BALL_BOUNCING
"""Bounce was not trained on the word alone, and agrees less with that prompt."""
BATCH = 5  # small batches fit in the cache
FIRST_SEED = {"test": 1_000_000, "val": 5_000_000}
EXPERTS_FIRST_SEED = FIRST_SEED | {"test": 7_000_000}
"""In tasks without known parts, the splits differ in the seeds only. The settings were tuned with the earlier seeds."""
CLIPPED = 0.999
GIVEN = {"joint": "t2av", "v2a": "v2a", "a2v": "a2v", "i2a": "v2a"}
"""The task of `measure.tasks` that defines the known parts, by task of the aligner."""
ByTask = Mapping[str, Mapping[str, Any]]
"""The settings of the aligner for each task. `second_binder`: the name of an additional binder."""
_COMMON: dict[str, Any] = {
    "inner_steps": 4, "first": 0.0, "last": 0.5, "through_denoiser": True, "steps_ahead": 3, "words": 0.0,
    "latent_frames": 3, "save_memory": False, "second_binder": BOUNCE_BIND,
}  # fmt: skip
_PICTURE = {**_COMMON, "update": "sign", "video_rate": 0.03, "audio_rate": 0.0, "keep": "rms", "turns": True}
_SOUND = {**_COMMON, "update": "adam", "audio_rate": 0.15, "keep": "spectrum"}
SETTINGS = {"joint": _PICTURE | {"inner_steps": 6, "first": 0.3, "last": 0.65}, "v2a": _SOUND, "a2v": _PICTURE, "i2a": _SOUND}
_SAMPLED: dict[str, Any] = {"steps": 40, "shift": 8.0, "eta": 0.0}
EXPERTS: dict[str, dict[str, Any]] = {
    "joint": {**_SAMPLED, "shift": 16.0, "audio_shift": 1.0}, "v2a": {**_SAMPLED, "eta": 0.5}, "a2v": _SAMPLED,
    "i2a": {**_SAMPLED, "eta": 0.5},
}  # fmt: skip
"""The sampler settings of the experts for each task, with and without alignment. In joint, the audio is denoised earlier than
the video; the video is aligned once the audio is recognisable, and guided after that."""
GUIDED: dict[str, dict[str, Any]] = {"joint": {"video_scale": 2.5, "audio_scale": 1.0, "interval_high": 0.9}}
"""The CFG of the experts, where they use it: it starts after the alignment of the video has ended."""


@dataclass(frozen=True)
class Arm:
    """One measurement of the study.

    task: a key of `GIVEN`. kind: "apart" (the experts), "aligned" (the experts with the aligner) or "joint" (Bounce, eta 0).
    split, n: which simulated clips are used.
    """

    task: str
    kind: str
    split: str
    n: int

    @property
    def prompt(self) -> str:
        """The prompt for both the video and the audio."""
        return BOUNCE_PROMPT if self.kind == "joint" else PROMPT

    @property
    def first_seed(self) -> int:
        """The random seed of the first clip."""
        return (FIRST_SEED if self.kind == "joint" else EXPERTS_FIRST_SEED)[self.split]

    def key(self, settings: ByTask) -> str:
        """Returns the key under which the figures are stored."""
        sampler = {} if self.kind == "joint" else EXPERTS[self.task] | GUIDED.get(self.task, {})
        aligned = dict(settings[self.task]) if self.kind == "aligned" else {}
        extra = {"prompt": self.prompt, "seed": self.first_seed} | sampler | aligned
        return " ".join([f"{self.task} {self.kind} {self.split} {self.n}", *(f"{name}={value}" for name, value in extra.items())])


def all_arms(split: str, n: int) -> list[Arm]:
    """Returns all arms. There is no I2A arm for Bounce, which takes whole videos only."""
    tried = [(task, kind) for task in GIVEN for kind in ("apart", "aligned", "joint")]
    return [Arm(task, kind, split, n) for task, kind in tried if (task, kind) != ("i2a", "joint")]


def study(
    experts: JointModel,
    joint: JointModel,
    binder: Binder,
    folder: Path,
    n: int,
    on_clip: Callable[[str, int, int], None],
    split: str = "test",
    settings: ByTask = SETTINGS,
) -> dict[tuple[str, str], dict[str, Any]]:
    """Runs the study and returns the figures of each arm, by (task, kind).

    experts: the two experts without joint training. joint: the joint model that was trained from them.
    on_clip: called with (key, done, total) after each clip.
    """
    store, found = ResultStore(folder / RESULTS), {}
    for arm in all_arms(split, n):
        key, model = arm.key(settings), joint if arm.kind == "joint" else experts
        found[arm.task, arm.kind] = store.get(key, partial(measure, arm, model, binder, settings, partial(on_clip, key)))
    return found


def measure(arm: Arm, model: JointModel, binder: Binder, settings: ByTask, on_clip: Callable[[int, int], None]) -> dict[str, Any]:
    """Generates and measures the clips of one arm.

    Returns agreement, sync, similarity in the space of the binder, fidelity of the video (dB), the share of clips without
    onsets, the share of clipped samples, and seconds per clip.
    """
    worlds = simulate(arm.n, arm.split)
    start = time.perf_counter()
    clips = [(*clip, SAMPLE_RATE) for clip in make_clips(arm, model, binder, settings, worlds, on_clip)]
    seconds = time.perf_counter() - start
    observed = [observe(*clip, FPS) for clip in clips]
    true = [true_kinds(worlds, row) for row in range(arm.n)]
    seen = true if GIVEN[arm.task] == "v2a" else [video_kinds(frames) for frames, *_ in clips]
    heard = true if arm.task == "a2v" else [audio_kinds(each) for each in observed]
    (alike, alike_ci), sync = mean_and_interval(similarity(clips, binder, float(FPS))), measure_sync(observed)
    return {
        "task": arm.task, "kind": arm.kind, "n": arm.n, "split": arm.split, **agreement(seen, heard),
        "similarity": alike, "similarity_ci": alike_ci,
        "sync_f1": sync["sync_f1"], "sync_ci": sync["sync_ci"], "sync_chance": sync["chance"],
        "fidelity_db": round(float(np.median([fidelity(frames) for frames, *_ in clips])), 2),
        "silent": round(float(np.mean([len(each.onsets) == 0 for each in observed])), 4),
        "clipped": round(float(np.mean([_clipped_share(wave) for _, wave, _ in clips])), 4),
        "seconds_per_clip": round(seconds / arm.n, 3),
    }  # fmt: skip


def make_clips(
    arm: Arm,
    model: JointModel,
    binder: Binder,
    settings: ByTask,
    worlds: Worlds,
    on_clip: Callable[[int, int], None],
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Generates the clips of one arm for `worlds`. first: the number of the first of them among all clips of the arm."""
    if arm.kind == "joint":
        defaults = default_settings(model)
        schedule = SamplingSchedule(defaults.steps, defaults.shift)
        guidance = make_guidance(defaults.guidance, video_scale=defaults.scale, audio_scale=defaults.scale)
    else:
        schedule, guided = SamplingSchedule(**EXPERTS[arm.task]), GUIDED.get(arm.task)
        guidance = make_guidance("cfg", removed=True, **guided) if guided else make_guidance("none", removed=True)
    alignment = _make_alignment(arm, model, binder, settings, worlds) if arm.kind == "aligned" else None
    inputs = SampleInputs(task_known_parts(GIVEN[arm.task], model, worlds), alignment)
    prompts = [Prompt(arm.prompt, arm.prompt)] * len(worlds)
    return generate(model, prompts, guidance, schedule, seed=arm.first_seed + first, batch=BATCH, inputs=inputs, on_clip=on_clip)


def _make_alignment(
    arm: Arm, model: JointModel, binder: Binder, settings: ByTask, worlds: Worlds
) -> Callable[[int, int], Alignment]:
    """Returns a function of (start, stop) that makes the alignment of those clips."""
    own = dict(settings[arm.task])
    if second := own.pop("second_binder", None):
        binder = BinderEnsemble(binder, load_binder(second))
    aligner = Aligner(binder=binder, task=arm.task, **own)

    def alignment(start: int, stop: int) -> Alignment:
        part = worlds[start:stop]
        frames = torch.from_numpy(render(part, model.clip.height)[:, :FRAMES]).float() / 255
        sounds = torch.from_numpy(render_sound(part))[:, None]
        reference = Reference(video=frames, fps=float(FPS), image=frames[:, 0], audio=sounds, sample_rate=SAMPLE_RATE)
        return aligner.begin(model, model.shape(), (arm.prompt, arm.prompt), reference)

    return alignment


def _clipped_share(wave: Tensor) -> float:
    """Returns the share of samples at full scale."""
    return float((wave.abs() > CLIPPED).float().mean())


def gap_closed(found: Mapping[tuple[str, str], Mapping[str, Any]], task: str) -> float:
    """Returns the mean agreement of the aligned experts on a scale from chance (0) to the joint model (1)."""
    aligned, joint = found[task, "aligned"], found[task, "joint"]
    chance = aligned["mean_chance"]
    return (aligned["mean"]["share"] - chance) / (joint["mean"]["share"] - chance)


def markdown_table(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Formats the figures of each arm with 95 % intervals. Agreement has the share of shuffled pairs in parentheses.

    The last column is `gap_closed`.
    """
    measured = ("material", "size", "number", "mean", "similarity", "sync", "video, dB", "silent", "clipped", "s a clip")
    head = ["task", "experts", *measured, "gap closed"]
    rows = [[task, kind, *_table_row(each), _format_gap(found, task, kind)] for (task, kind), each in found.items()]
    return format_table(head, rows)


def _format_gap(found: Mapping[tuple[str, str], Mapping[str, Any]], task: str, kind: str) -> str:
    return f"{gap_closed(found, task):.0%}" if kind == "aligned" and (task, "joint") in found else "–"


def _table_row(each: Mapping[str, Any]) -> list[str]:
    def share(of: Mapping[str, Any], chance: float) -> str:
        return f"{format_percent(of['share'], of['ci'])} ({100 * chance:.0f})"

    return [
        *(share(each["shares"][name], each["chance"][name]) for name in each["shares"]),
        share(each["mean"], each["mean_chance"]),
        format_interval(each["similarity"], each["similarity_ci"], "{:.2f}"),
        f"{each['sync_f1']:.2f} ({each['sync_chance']:.2f})",
        f"{each['fidelity_db']:.1f}", f"{each['silent']:.0%}", f"{each['clipped']:.1%}", f"{each['seconds_per_clip']:.1f}",
    ]  # fmt: skip
