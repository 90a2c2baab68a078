"""Does *when* come too? The aligner study with a binder that sees time: `python -m duet_av.bounce.studies.timing_study`.

*What* is measured by the binders of the aligner study, *when* by a Bounce-Bind Times. Each clip is stored as a line when it is
done, so that a study can be interrupted, and several processes can each make a part of the clips.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...av_models.binders.base import Binder, Embedded
from ...av_models.binders.ensemble import BinderEnsemble
from ..binder import load_bounce_bind
from ..binder_in_time import load_bounce_bind_times
from ..checkout import ROOT
from ..detect.attributes import Observation, observe
from ..measure.agreement import agreement, audio_kinds, true_kinds, video_kinds
from ..measure.evaluate import Clip, measure_sync, true_clips
from ..shipped import BOUNCE_BIND, BOUNCE_BIND_ROBUST, load_untrained_bounce, shipped
from ..world.sound import SAMPLE_RATE
from ..world.world import FPS, simulate
from . import aligner_study
from .aligner_study import Arm, make_clips
from .json_lines import LineFile, ResultStore

TIMING: dict[str, dict[str, Any]] = {"v2a": {"timing": 1.0}, "joint": {"timing": 1.0, "latent_frames": 0, "turns": False}}
"""What is added to the settings of the aligner study."""


class WhatAndWhen:
    """A binder with the embeddings of one binder and the tracks of another."""

    licence = ""

    def __init__(self, what: Binder, when: Any) -> None:
        self.what, self.when = what, when
        self.name, self.modalities = f"{what.name} + {when.name} for time", what.modalities
        self.embed_video, self.embed_image = what.embed_video, what.embed_image
        self.embed_audio, self.embed_text = what.embed_audio, what.embed_text

    def embed_video_times(self, frames: Tensor, fps: float) -> Embedded:
        return Embedded(self.what.embed_video(frames, fps), self.when.embed_video_times(frames, fps).tracks)

    def embed_audio_times(self, waveform: Tensor, sample_rate: int) -> Embedded:
        return Embedded(self.what.embed_audio(waveform, sample_rate), self.when.embed_audio_times(waveform, sample_rate).tracks)


def make(arm: Arm, binder: Binder, settings: Mapping[str, Any], lines: LineFile, rows: range) -> None:
    """Makes the clips `rows` of an arm that are not in `lines` yet, and adds a line for each."""
    model, worlds, key = load_untrained_bounce(), simulate(arm.n, arm.split), arm.key({arm.task: settings})
    done = {line["row"] for line in lines.lines if line["key"] == key}
    for start in range(rows.start, rows.stop, aligner_study.BATCH):
        part = range(start, min(start + aligner_study.BATCH, rows.stop))
        if done.issuperset(part):
            continue
        begun = time.perf_counter()
        clips = list(make_clips(arm, model, binder, {arm.task: settings}, worlds[start : part.stop], lambda *_: None, start))
        seconds = (time.perf_counter() - begun) / len(part)
        for row, (frames, wave) in zip(part, clips):
            seen = true_kinds(worlds, row) if arm.task == "v2a" else video_kinds(frames)
            clipped = float((wave.abs() > aligner_study.CLIPPED).float().mean())
            lines.add({"key": key, "row": row, "seen": sorted(seen), **_heard((frames, wave, SAMPLE_RATE)), "clipped": clipped,
                       "seconds": round(seconds, 2)})  # fmt: skip


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
    parser.add_argument("--binder", type=Path, default=shipped("bind_times"), help="a trained Bounce-Bind Times")
    parser.add_argument("--kind", choices=("apart", "aligned"), default="aligned", help="the experts, or the experts aligned")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--n", type=int, default=200, help="clips in all")
    parser.add_argument("--first", type=int, default=0, help="the first clip of this process")
    parser.add_argument("--last", type=int, help="the clip after the last one of this process")
    parser.add_argument("--set", nargs="*", type=_value, default=[], metavar="NAME=VALUE", help="settings of the aligner")
    parser.add_argument("--sampler", nargs="*", type=_value, default=[], metavar="NAME=VALUE", help="settings of the sampler")
    parser.add_argument("--lines", type=Path, required=True, help="folder of the clips' lines; processes may share it")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/aligner/timing.jsonl", help="file of the figures")
    return parser


def main() -> None:
    """Makes the clips that are missing, and prints the figures of all that are there."""
    args = _parser().parse_args()
    if args.task == "ceiling":
        print(ResultStore(args.out).get(f"ceiling {args.split} {args.n}", lambda: ceiling(args.split, args.n)))
        return
    aligner_study.EXPERTS[args.task] |= dict(args.sampler)
    arm = Arm(args.task, args.kind, args.split, args.n)
    settings = aligner_study.SETTINGS[args.task] | TIMING[args.task] | dict(args.set)
    second = settings.pop("second_binder", BOUNCE_BIND)
    what = BinderEnsemble(load_bounce_bind(BOUNCE_BIND_ROBUST), load_bounce_bind(second))
    binder = WhatAndWhen(what, load_bounce_bind_times(args.binder)) if settings["timing"] else what
    last = args.n if args.last is None else args.last
    make(arm, binder, settings, LineFile(args.lines / f"{args.task}_{args.first}_{last}.jsonl"), range(args.first, last))
    key = arm.key({arm.task: settings})
    found = [line for path in sorted(args.lines.glob("*.jsonl")) for line in LineFile(path).lines if line["key"] == key]
    result = figures(found)
    print(result)
    if result["n"] == args.n:
        ResultStore(args.out).get(key, lambda: result)


if __name__ == "__main__":
    main()
