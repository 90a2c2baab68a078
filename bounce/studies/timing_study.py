"""Does *when* come too? The aligner study with a binder that sees time: `python -m duet_av.bounce.studies.timing_study`.

The binders of the aligner study see *what*, and Bounce-Bind Times sees *when*. In joint, the video is sampled first, and its
sound is aligned to it as in V2A. Each clip is stored as a line when it is
done, so that a study can be interrupted, and several processes can each make a part of the clips.
"""

from __future__ import annotations

import argparse
import ast
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...av_models.binders.base import Binder
from ...av_models.binders.ensemble import BinderEnsemble
from ...av_models.clip_latent import everything, make_known_masks, nothing
from ...av_models.contract import AVLatent
from ...av_models.guidance import make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.latent_aligner import Aligner, Reference
from ...av_models.schedule import SamplingSchedule
from ..binder import load_binder
from ..checkout import ROOT
from ..detect.attributes import Observation, observe
from ..measure.agreement import agreement, audio_kinds, true_kinds, video_kinds
from ..measure.evaluate import Clip, measure_sync, true_clips
from ..measure.generate import Prompt, SampleInputs, generate, sample_latents
from ..shipped import BOUNCE_BIND, BOUNCE_BIND_ROBUST, BOUNCE_BIND_TIMES, load_untrained_bounce, shipped
from ..world.sound import SAMPLE_RATE
from ..world.world import FPS, simulate
from .aligner_study import BATCH, CLIPPED, EXPERTS, GUIDED, RESULTS, SETTINGS, Arm, make_clips
from .json_lines import LineFile, ResultStore

BINDERS = (BOUNCE_BIND_ROBUST, BOUNCE_BIND, BOUNCE_BIND_TIMES)
TIMING: dict[str, Any] = {"timing": 2.0, "inner_steps": 2}
"""What differs from the settings of the aligner study for V2A."""


@dataclass(frozen=True)
class Work:
    """What is made: the clips of an arm. binders: names or files. settings: of the aligner, apart from the binders."""

    arm: Arm
    binders: Sequence[str]
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        """The key under which the clips and their figures are stored."""
        names = f" binders={' + '.join(Path(name).name for name in self.binders)}" if self.arm.kind == "aligned" else ""
        sampled = "".join(f" sound_{name}={value}" for name, value in EXPERTS["v2a"].items()) if self.video_first else ""
        return self.arm.key({self.arm.task: self.settings}) + names + sampled

    @property
    def video_first(self) -> bool:
        """Whether the video is sampled first, and its sound is aligned to it."""
        return (self.arm.task, self.arm.kind) == ("joint", "aligned")


def read_lines(folder: Path, key: str) -> list[dict[str, Any]]:
    """Returns the lines of the clips that were made, by any process."""
    texts = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines(keepends=True)]
    lines = [json.loads(line) for line in texts if line.endswith("\n")]
    return [line for line in lines if line["key"] == key]


def make(work: Work, folder: Path, rows: range) -> None:
    """Makes the clips `rows` that have no line in `folder` yet, and adds a line for each."""
    arm, model, worlds = work.arm, load_untrained_bounce(), simulate(work.arm.n, work.arm.split)
    binder = BinderEnsemble(*map(load_binder, work.binders))
    done = {line["row"] for line in read_lines(folder, work.key)}
    lines = LineFile(folder / f"{arm.task}_{arm.split}_{rows.start}_{rows.stop}.jsonl")
    for start in range(rows.start, rows.stop, BATCH):
        part = range(start, min(start + BATCH, rows.stop))
        if done.issuperset(part):
            continue
        begun, some = time.perf_counter(), worlds[start : part.stop]
        if work.video_first:
            clips = list(make_video_first(work, model, binder, part))
        else:
            clips = list(make_clips(arm, model, binder, {arm.task: work.settings}, some, lambda *_: None, start))
        seconds = round((time.perf_counter() - begun) / len(part), 2)
        for row, (frames, wave) in zip(part, clips):
            seen = true_kinds(worlds, row) if arm.task == "v2a" else video_kinds(frames)
            line = {"key": work.key, "row": row, "seen": sorted(seen), **_heard((frames, wave, SAMPLE_RATE)), "seconds": seconds}
            lines.add(line | {"clipped": float((wave.abs() > CLIPPED).float().mean())})


def make_video_first(work: Work, model: JointModel, binder: Binder, rows: range) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples the videos of `rows` with the experts, not aligned, then their sounds, aligned to these videos as in V2A."""
    prompts, seed, shape = [Prompt(work.arm.prompt, work.arm.prompt)] * len(rows), work.arm.first_seed + rows.start, model.shape()
    guidance, schedule = make_guidance("cfg", removed=True, **GUIDED["joint"]), SamplingSchedule(**EXPERTS["joint"])
    latent = AVLatent.cat(list(sample_latents(model, prompts, guidance, schedule, seed=seed)))
    known = KnownParts(latent, make_known_masks(model, shape, everything, nothing).to(model.device), model.known_mode)
    reference = Reference(video=model.decode(latent, shape)[0], fps=float(FPS))
    texts = work.arm.prompt, work.arm.prompt
    alignment = Aligner(binder=binder, task="v2a", **work.settings).begin(model, shape, texts, reference)
    inputs = SampleInputs(lambda *_: known, lambda *_: alignment)
    return generate(
        model, prompts, make_guidance("none", removed=True), SamplingSchedule(**EXPERTS["v2a"]), seed=seed, inputs=inputs
    )


def _heard(clip: Clip) -> dict[str, Any]:
    found = observe(*clip, FPS)
    return {"heard": sorted(audio_kinds(found)), "contacts": found.contacts.tolist(), "onsets": found.onsets.tolist()}


def figures(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the agreement and the sync of the clips in `lines`, with 95 % intervals and shuffled pairs."""
    rows = sorted({line["row"]: line for line in lines}.values(), key=lambda line: line["row"])
    observed = [_observation(line) for line in rows]
    kinds = [[frozenset(map(tuple, line[name])) for line in rows] for name in ("seen", "heard")]
    sync = measure_sync(observed)
    return {
        "n": len(rows), **agreement(*kinds), "sync_f1": sync["sync_f1"], "sync_ci": sync["sync_ci"], "sync_chance": sync["chance"],
        "contacts": sync["contacts_seen"], "onsets": sync["onsets_heard"],
        "silent": round(float(np.mean([not line["onsets"] for line in rows])), 4),
        "clipped": round(float(np.mean([line["clipped"] for line in rows])), 4),
        "seconds_per_clip": round(float(np.mean([line["seconds"] for line in rows])), 2),
    }  # fmt: skip


def _observation(line: Mapping[str, Any]) -> Observation:
    nothing = np.zeros(0)
    return Observation(np.array(line["contacts"]), np.array(line["onsets"]), [], [], nothing, nothing)


def ceiling(split: str, n: int) -> dict[str, Any]:
    """Returns the sync of true clips, whose sound went through the codec."""
    from ...av_models.load_parts import load_codec

    clips = true_clips(simulate(n, split), None, load_codec(shipped("audio_codec")))
    sync = measure_sync([observe(*clip, FPS) for clip in clips])
    return {"n": n, "sync_f1": sync["sync_f1"], "sync_ci": sync["sync_ci"], "sync_chance": sync["chance"]}


def _value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("v2a", "joint", "ceiling"))
    parser.add_argument("--kind", choices=("apart", "aligned"), default="aligned", help="the experts, or the experts aligned")
    parser.add_argument("--binders", nargs="+", default=BINDERS, metavar="NAME", help="names or files")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--n", type=int, default=200, help="clips in all")
    parser.add_argument("--first", type=int, default=0, help="the first clip of this process")
    parser.add_argument("--last", type=int, help="the clip after the last one of this process")
    parser.add_argument("--set", nargs="*", type=_value, default=[], metavar="NAME=VALUE", help="settings of the aligner")
    parser.add_argument("--sampler", nargs="*", type=_value, default=[], metavar="NAME=VALUE", help="of the sampler of the sound")
    parser.add_argument("--lines", type=Path, help="folder of the clips' lines, which processes may share")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/aligner" / RESULTS, help="file of the figures")
    return parser


def main() -> None:
    """Makes the clips that are missing, and prints the figures of all that are there."""
    args = _parser().parse_args()
    store = ResultStore(args.out)
    if args.task == "ceiling":
        print(store.get(f"ceiling {args.split} {args.n}", lambda: ceiling(args.split, args.n)))
        return
    EXPERTS["v2a"] = EXPERTS["v2a"] | dict(args.sampler)
    settings = {k: v for k, v in SETTINGS["v2a"].items() if k != "second_binder"} | TIMING | dict(args.set)
    work = Work(Arm(args.task, args.kind, args.split, args.n), args.binders, settings)
    folder, last = args.lines or args.out.parent / "clips", args.n if args.last is None else args.last
    if work.key in store.results:
        print(store.results[work.key])
        return
    make(work, folder, range(args.first, last))
    found = read_lines(folder, work.key)
    if len(found) < 2:
        print(f"{len(found)} clip; figures need at least 2")
        return
    result = {"task": args.task, "kind": args.kind, "split": args.split} | figures(found)
    print(store.get(work.key, lambda: result) if result["n"] == args.n else result)


if __name__ == "__main__":
    main()
