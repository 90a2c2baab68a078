"""`duet eval bounce`: generate clips for prompts of a split and measure them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ...av_models.binders.base import Binder
from ...av_models.guidance import GUIDANCE, make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.metrics.sheet import save_sheet
from ...av_models.sampling import sampling_cost
from ...av_models.schedule import SamplingSchedule
from ..detect.attributes import observe
from ..world.captions import captions
from ..world.render import render
from ..world.world import Worlds, simulate
from .evaluate import Clip, evaluate, true_clips
from .generate import Prompt, generate
from .likeness import likeness
from .nearest import nearest_training_clip
from .tasks import fit_to_given, given_of


@dataclass(frozen=True)
class Settings:
    guidance: str
    scale: float
    steps: int
    shift: float
    eta: float = 0.0


CHOSEN = {  # on validation clips: see docs/bounce.md
    "AVFullDiT": Settings("joint_cfg", 2.5, 20, 5.0, 2.0),
    "JointDiT": Settings("joint_cfg", 1.5, 20, 1.0, 2.0),
}
SHOWN = 8  # clips on a contact sheet
GUIDED_BY = {"dual_cfg": ("", "cross_"), "stg": ("skip_",)}  # the scales that `scale` sets; in all others the prompt's


def chosen(model: JointModel) -> Settings:
    """The settings for Bounce's model of the same architecture."""
    return CHOSEN.get(model.card["architecture"], CHOSEN["AVFullDiT"])


def run_eval(
    model: JointModel,
    *,
    guidance: str,
    scale: float,
    balls: int | None,
    split: str,
    n: int,
    seed: int,
    steps: int,
    shift: float = 1.0,
    eta: float = 0.0,
    cut: bool = False,
    sheet: Path | None = None,
    nearest: bool = False,
    task: str = "t2av",
    way: str | None = None,
    settings: Mapping[str, float] = MappingProxyType({}),
    bad_model: JointModel | None = None,
    binder: Binder | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The figures of `n` clips, for prompts of `split` that name every attribute in words of the captions.

    `scale` goes to both modalities, `settings` are further ones of the guidance, `bad_model` is the worse model of
    autoguidance; `cut` drops every cross-modal key; `sheet` draws the first clips to a file; `nearest`
    adds how far one-ball clips are from the nearest training clip. `task`: what is given of the true clips (see `tasks`),
    `way`: clean or renoised, not as the model was trained; `binder`: what measures likeness (see `likeness`). The ceiling
    is measured on the true clips of the same prompts, through the model's codecs.
    """
    if nearest and "training_clips" not in model.card.get("data", {}):
        raise ValueError(f"{model.name} was not trained as a pair: its card names no training clips to compare with")
    worlds = simulate(n, split, seed, balls)
    prompts = _prompts(model, worlds, seed)
    coupling = {"a_to_v": 0.0, "v_to_a": 0.0} if cut else {}
    strategy = make_guidance(guidance, **_defaults(guidance, scale, model) | dict(settings), **coupling)
    strategy = model.supported(strategy, bad_model)
    cost = sampling_cost(strategy, SamplingSchedule(steps, shift))
    spent = _Stopwatch()
    first = 1_000_000 * (seed + 1)
    given = given_of(task, model, worlds, way)
    made = spent.around(
        generate(
            model, prompts, strategy, steps=steps, shift=shift, eta=eta, seed=first, given=given,
            bad_model=bad_model, on_clip=on_clip,
        )
    )  # fmt: skip
    rate = model.audio_codec.sample_rate
    clips = ((frames, wave, rate) for frames, wave in made)
    if sheet:
        clips = _drawn(clips, prompts, float(model.clip.fps), sheet)
    kept: list[Clip] = []
    shown = "i2av" if model.takes_image and task == "t2av" else task
    if nearest or binder or shown != "t2av":
        clips = _kept(clips, kept)
    figures = evaluate(clips, worlds, _reference(model, worlds), float(model.clip.fps))
    pictures = [frames for frames, *_ in kept]
    if nearest:
        figures["nearest"] = nearest_training_clip(pictures, worlds, **model.card["data"])
    if binder:
        true = true_clips(worlds, model.video_codec, size=model.clip.height)  # its sounds are not looked at
        figures |= likeness(kept, true, binder, float(model.clip.fps))
    return {
        "model": model.name, "task": shown, "guidance": guidance, "scale": scale, "settings": dict(settings), "cut": cut,
        "balls": balls, "split": split,
        "steps": steps, "shift": shift, "eta": eta, "seed": seed, **figures,
        **fit_to_given(shown, model, pictures, worlds), "branches_per_step": cost.branches_per_step,
        "forwards_per_step": cost.forwards_per_step, "seconds_per_clip": round(spent.seconds / n, 3),
    }  # fmt: skip


def _prompts(model: JointModel, worlds: Worlds, seed: int) -> list[Prompt]:
    """Words that name every attribute, or the first frames, as the model takes them."""
    if not model.takes_image:
        return [Prompt(*pair) for pair in zip(*captions(worlds, seed, drop=0.0))]
    first = render(replace(worlds, position=worlds.position[:, :, :1]), model.clip.height)[:, 0]
    return [Prompt("", "", picture) for picture in torch.from_numpy(first)]


def _defaults(guidance: str, scale: float, model: JointModel) -> dict[str, float]:
    """The settings of a guidance that `scale` and the model decide."""
    known = {field.name for field in fields(GUIDANCE[guidance])} if guidance in GUIDANCE else set()
    kinds = GUIDED_BY.get(guidance, ("",))
    settings = {f"{modality}_{kind}scale": scale for modality in ("video", "audio") for kind in kinds}
    settings |= {"skip_block": model.denoiser.skippable // 2}
    return {name: value for name, value in settings.items() if name in known}


def _reference(model: JointModel, worlds: Worlds) -> Iterator[Clip]:
    return true_clips(worlds, model.video_codec, model.audio_codec, model.clip.height)


def _drawn(clips: Iterator[Clip], prompts: list[Prompt], fps: float, path: Path) -> Iterator[Clip]:
    """The same clips, the first of them drawn to `path`."""
    first = list(islice(clips, SHOWN))
    seen = [observe(*clip, fps) for clip in first]
    titles = [f"{prompt.video}  ·  {prompt.audio}" for prompt in prompts[: len(first)]]
    save_sheet(path, first, titles, [(o.contacts, o.onsets) for o in seen])
    yield from first
    yield from clips


def _kept(clips: Iterator[Clip], kept: list[Clip]) -> Iterator[Clip]:
    for clip in clips:
        kept.append(clip)
        yield clip


class _Stopwatch:
    """Counts the seconds that an iterator takes to give its items, and not what is done with them."""

    seconds = 0.0

    def around(self, items):
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - start
            yield item
