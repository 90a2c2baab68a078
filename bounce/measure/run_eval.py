"""The evaluation of `duet eval bounce`: generates clips for prompts of a split and measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from ...av_models.binders.base import Binder
from ...av_models.guidance import GUIDANCE, Guidance, make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.metrics.sheet import save_contact_sheet
from ...av_models.sampling import sampling_cost
from ...av_models.schedule import SamplingSchedule
from ..detect.attributes import observe
from ..world.captions import captions
from ..world.render import render
from ..world.world import Worlds, simulate
from .evaluate import Clip, evaluate, true_clips
from .generate import Prompt, SampleInputs, generate
from .likeness import likeness
from .nearest import nearest_training_clip
from .tasks import measure_task, task_known_parts

T = TypeVar("T")


@dataclass(frozen=True)
class EvalSettings:
    """The settings of one evaluation: which clips are generated, and how.

    guidance: name of the guidance strategy. scale: its guidance scale, for both the video and the audio.
    extra: further settings of the guidance, by name.
    steps, shift, eta: settings of the sampler.
    split, n, seed, balls: which prompts (see `simulate`). `seed` also selects the noise.
    task: which parts of the simulated clips are known (see `TASKS`). known_mode: "clean" or "renoised", None: the model's own.
    cut: disables the attention between video and audio.
    """

    guidance: str
    scale: float
    steps: int
    shift: float = 1.0
    eta: float = 0.0
    extra: Mapping[str, float] = field(default_factory=dict)
    split: str = "val"
    n: int = 200
    seed: int = 0
    balls: int | None = None
    task: str = "t2av"
    known_mode: str | None = None
    cut: bool = False


DEFAULTS = {  # selected on validation clips: see docs/bounce.md
    "AVFullDiT": EvalSettings("joint_cfg", 2.5, steps=20, shift=5.0, eta=2.0),
    "JointDiT": EvalSettings("joint_cfg", 1.5, steps=20, shift=1.0, eta=2.0),
}
SHEET_CLIPS = 8
SCALES = {"dual_cfg": ("", "cross_"), "stg": ("skip_",)}  # prefixes of the scales that `scale` sets; "" for other strategies


def default_settings(model: JointModel) -> EvalSettings:
    """Returns the default settings for the architecture of `model`."""
    return DEFAULTS.get(model.card["architecture"], DEFAULTS["AVFullDiT"])


def run_eval(
    model: JointModel,
    settings: EvalSettings,
    *,
    bad_model: JointModel | None = None,
    binder: Binder | None = None,
    sheet: Path | None = None,
    nearest: bool = False,
    on_clip: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Generates `settings.n` clips and returns their figures. The result can be saved as JSON.

    The prompts name all attributes. An image-to-video model gets the first frames instead. The ceiling is measured on the
    simulated clips of the same prompts, encoded and decoded by the codecs of the model.

    bad_model: the second model of autoguidance.
    binder: adds the metrics of `likeness`.
    sheet: path of an image with the first clips and their spectrograms.
    nearest: adds the distance of one-ball clips to the nearest training clip.
    on_clip: called with (done, total) after each clip.
    Raises ValueError if a setting is invalid, or for `nearest` if the card of the model names no training clips.
    """
    if nearest and "training_clips" not in model.card.get("data", {}):
        raise ValueError(f"the card of {model.name} names no training clips to compare with; leave nearest out")
    worlds = simulate(settings.n, settings.split, settings.seed, settings.balls)
    prompts, fps = _make_prompts(model, worlds, settings.seed), float(model.clip.fps)
    guidance = _make_guidance(settings, model, bad_model)
    schedule, first_seed = SamplingSchedule(settings.steps, settings.shift, eta=settings.eta), 1_000_000 * (settings.seed + 1)
    cost = sampling_cost(guidance, schedule)
    inputs = SampleInputs(task_known_parts(settings.task, model, worlds, settings.known_mode), bad_model=bad_model)
    stopwatch = _Stopwatch()
    made = stopwatch.time_items(generate(model, prompts, guidance, schedule, seed=first_seed, inputs=inputs, on_clip=on_clip))
    clips: Iterator[Clip] = ((frames, wave, model.audio_codec.sample_rate) for frames, wave in made)
    if sheet:
        clips = _save_first(clips, prompts, fps, sheet)
    task = "i2av" if model.takes_image and settings.task == "t2av" else settings.task
    kept: list[Clip] = []
    if nearest or binder or task != "t2av":
        clips = _keep(clips, kept)
    reference = true_clips(worlds, model.video_codec, model.audio_codec, model.clip.height)
    figures = evaluate(clips, worlds, reference, fps)
    pictures = [frames for frames, *_ in kept]
    if nearest:
        figures["nearest"] = nearest_training_clip(pictures, worlds, **model.card["data"])
    if binder:
        true = true_clips(worlds, model.video_codec, size=model.clip.height)  # only the frames are used
        figures |= likeness(kept, true, binder, fps)
    return {
        "model": model.name, "task": task, "guidance": settings.guidance, "scale": settings.scale,
        "settings": dict(settings.extra), "cut": settings.cut, "balls": settings.balls, "split": settings.split,
        "steps": settings.steps, "shift": settings.shift, "eta": settings.eta, "seed": settings.seed, **figures,
        **measure_task(task, model, pictures, worlds), "branches_per_step": cost.branches_per_step,
        "forwards_per_step": cost.forwards_per_step, "seconds_per_clip": round(stopwatch.seconds / settings.n, 3),
    }  # fmt: skip


def _make_prompts(model: JointModel, worlds: Worlds, seed: int) -> list[Prompt]:
    """Makes captions that name all attributes or, for an image-to-video model, renders the first frames."""
    if not model.takes_image:
        return [Prompt(*pair) for pair in zip(*captions(worlds, seed, drop=0.0))]
    first = render(replace(worlds, position=worlds.position[:, :, :1]), model.clip.height)[:, 0]
    return [Prompt("", "", picture) for picture in torch.from_numpy(first)]


def _make_guidance(settings: EvalSettings, model: JointModel, bad_model: JointModel | None) -> Guidance:
    coupling = {"a_to_v": 0.0, "v_to_a": 0.0} if settings.cut else {}
    defaults = _default_guidance_settings(settings.guidance, settings.scale, model)
    guidance = make_guidance(settings.guidance, **defaults | dict(settings.extra), **coupling)
    return model.adapt_guidance(guidance, bad_model)


def _default_guidance_settings(guidance: str, scale: float, model: JointModel) -> dict[str, float]:
    """Returns the settings of a guidance strategy that follow from `scale` and the model."""
    names = {field.name for field in fields(GUIDANCE[guidance])} if guidance in GUIDANCE else set()
    prefixes = SCALES.get(guidance, ("",))
    settings: dict[str, float] = {f"{modality}_{prefix}scale": scale for modality in ("video", "audio") for prefix in prefixes}
    settings |= {"skip_block": model.denoiser.skippable // 2}
    return {name: value for name, value in settings.items() if name in names}


def _save_first(clips: Iterator[Clip], prompts: list[Prompt], fps: float, path: Path) -> Iterator[Clip]:
    """Yields all clips, and saves a contact sheet of the first ones to `path`."""
    first = list(islice(clips, SHEET_CLIPS))
    observed = [observe(*clip, fps) for clip in first]
    titles = [f"{prompt.video}  ·  {prompt.audio}" for prompt in prompts[: len(first)]]
    save_contact_sheet(path, first, titles, [(each.contacts, each.onsets) for each in observed])
    yield from first
    yield from clips


def _keep(clips: Iterator[Clip], kept: list[Clip]) -> Iterator[Clip]:
    """Yields all clips and appends them to `kept`."""
    for clip in clips:
        kept.append(clip)
        yield clip


class _Stopwatch:
    """Measures the time that an iterator needs to produce its items."""

    seconds = 0.0

    def time_items(self, items: Iterable[T]) -> Iterator[T]:
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
