"""Measures what Duet's sampler costs on joint models that people can download, beside the models' own pipelines.

python -m duet_av.benchmarks.joint_models [--runs N] [--output docs/joint_models.md]

overhead: the time of a sampling step outside the network, as a share of a forward pass of 100 ms.
rows: the network calls of one step on the tiny models of `small_models`, as ratios to the pipeline's own pair for CFG. All cases
run in turn, in a random order, on one thread; the first round is dropped. Times are CPU time.
--output: replaces the section at the end of a page.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import Kandinsky6Transformer3DModel, LTX2VideoTransformer3DModel
from tqdm import tqdm

from ..av_models.branch_runner import BranchRunner, PromptedModel
from ..av_models.contract import AVCondition, AVLatent, AVTime, Condition, Coupling, CouplingKind, LatentShape
from ..av_models.guidance import Guidance, Step, make_guidance
from ..av_models.joint_model import JointModel
from ..av_models.load_joint import load_joint_model
from ..av_models.noise import NoiseSource
from ..av_models.path import FLOW
from ..av_models.sampling import sample
from ..av_models.schedule import SamplingSchedule
from .ratios import cell, commit, ratio_of, replace_section

FORWARD, AIM_OVERHEAD, AIM_PAIR = 0.1, 2.0, 1.05  # seconds, per cent, ratio
STEPS = 20
PACK = Path(__file__).resolve().parents[1]
TINY = LatentShape((1, 16, 3, 4, 4), (1, 16, 12))
STRATEGIES: dict[str, Guidance] = {
    "none": make_guidance("none"), "cfg": make_guidance("cfg"), "joint_cfg": make_guidance("joint_cfg"),
    "joint_cfg, a_to_v 0.5": make_guidance("joint_cfg", a_to_v=0.5), "modality_cfg": make_guidance("modality_cfg"),
}  # fmt: skip


class Family(NamedTuple):
    """A family of models.

    name: as shown. clip, latents: what the published model makes as a rule, in words and as latents. medium: latents for the tiny
    model, with about 1,700 tokens. own: how its pipeline runs the pair for CFG, in words. batched: whether in one call.
    """

    name: str
    clip: str
    latents: LatentShape
    medium: tuple[int, int, int, int]
    own: str
    batched: bool


FAMILIES = {
    "kandinsky6": Family(
        "Kandinsky 6", "121 frames of 768×512", LatentShape((1, 16, 31, 64, 96), (1, 40, 218)), (8, 28, 28, 120),
        "two calls of Kandinsky6Transformer3DModel", False,
    ),
    "ltx2": Family(
        "LTX-2", "121 frames of 768×512", LatentShape((1, 128, 16, 16, 24), (1, 8, 126, 16)), (8, 14, 14, 120),
        "one call of LTX2VideoTransformer3DModel", True,
    ),
    "ovi": Family(
        "Ovi", "121 frames of 960×960", LatentShape((1, 48, 31, 60, 60), (1, 20, 157)), (8, 28, 28, 120),
        "two calls of this network, as the authors' loop makes them", False,
    ),
}  # fmt: skip


class FreeDenoiser:
    """A denoiser that takes no time."""

    paths, prediction, kinds, skippable = (FLOW, FLOW), "flow", frozenset(CouplingKind), 0

    def predict_coupled(self, latent: AVLatent, t: AVTime, cond: AVCondition, coupling: Any, skip: Any = None) -> AVLatent:
        return latent


def measure_overhead(shape: LatentShape, runs: int) -> dict[str, float]:
    """Returns the median seconds of a sampling step outside the network, by strategy."""
    text = Condition(torch.zeros(1, 8, 8), torch.ones(1, 8, dtype=torch.bool))
    prompts, noise = AVCondition(text, text), NoiseSource(NoiseSource(shape).initial(torch.device("cpu")))

    def make_task(guidance: Guidance) -> Callable[[], Any]:
        return lambda: sample(PromptedModel(FreeDenoiser(), prompts, prompts), noise, guidance, SamplingSchedule(STEPS))

    took = run_in_turn({name: make_task(guidance) for name, guidance in STRATEGIES.items()}, runs, "overhead")
    return {name: statistics.median(seconds) / STEPS for name, seconds in took.items()}


def measure_rows(name: str, runs: int) -> dict[str, list[float]]:
    """Returns the CPU seconds of the network calls of one step, by strategy, and of the pipeline's own pair ("pair")."""
    with tempfile.TemporaryDirectory() as folder:
        import_module(f".small_models.{name}", __package__).build(Path(folder) / name)
        model = load_joint_model(Path(folder) / name)
        prompts = PromptedModel(model.denoiser, model.encode("a cat", "a cat"), model.encode("bad", "bad"))
        latent, time_of = _medium_latent(FAMILIES[name], model), AVTime(torch.full((1,), 0.7), torch.full((1,), 0.7))
        pair = make_pair(Path(folder) / name, prompts, latent, time_of)
    step = Step(0, 2, 0.7, 0.7)

    def make_task(guidance: Guidance) -> Callable[[], Any]:
        runner = BranchRunner({"main": prompts}, 1, batched=True)
        return lambda: runner.predict(guidance.branches(step), latent, step, time_of)

    tasks = {strategy: make_task(guidance) for strategy, guidance in STRATEGIES.items()}
    return run_in_turn(tasks | {"pair": pair}, runs, name)


def _medium_latent(family: Family, model: JointModel) -> AVLatent:
    frames, height, width, steps = family.medium
    sizes = model.latent_shape(model.shape())
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(1, sizes.video[1], frames, height, width, generator=generator)
    return AVLatent(video, torch.randn(1, sizes.audio[1], steps, *sizes.audio[3:], generator=generator))


def make_pair(folder: Path, prompts: PromptedModel, latent: AVLatent, t: AVTime) -> Callable[[], Any]:
    """Returns the network calls that the model's own pipeline makes for one step with CFG, by diffusers' unchanged network."""
    conditions = prompts.positive, prompts.negative
    if folder.name in OWN_PAIRS:
        cls, pair = OWN_PAIRS[folder.name]
        return pair(cls.from_pretrained(folder / "transformer").eval(), conditions, latent, t)
    full = [Coupling(CouplingKind.FULL)]
    return lambda: [prompts.denoiser.predict_coupled(latent, t, each, full) for each in conditions]  # type: ignore[attr-defined]


def _kandinsky6_pair(network: Any, conditions: tuple[AVCondition, ...], latent: AVLatent, t: AVTime) -> Callable[[], Any]:
    video = latent.video.movedim(1, -1)
    given = {
        "hidden_states": torch.cat([video, torch.zeros_like(video), video[..., :1] * 0], -1),
        "audio_hidden_states": latent.audio.transpose(1, 2), "timestep": t.video * 1000, "return_dict": False,
    }  # fmt: skip
    names = {"encoder_hidden_states": "tokens", "pooled_projections": "vector", "encoder_attention_mask": "mask"}
    texts = [{name: getattr(each.video, field) for name, field in names.items()} for each in conditions]
    return lambda: [network(**given, **text) for text in texts]


def _ltx2_pair(network: Any, conditions: tuple[AVCondition, ...], latent: AVLatent, t: AVTime) -> Callable[[], Any]:
    both, audio = AVCondition.cat(conditions), latent.audio.transpose(1, 2).flatten(2)
    _, _, frames, height, width = latent.video.shape
    given = {
        "hidden_states": torch.cat([latent.video.flatten(2).transpose(1, 2)] * 2), "audio_hidden_states": torch.cat([audio] * 2),
        "encoder_hidden_states": both.video.tokens, "audio_encoder_hidden_states": both.audio.tokens,
        "encoder_attention_mask": both.video.mask, "audio_encoder_attention_mask": both.audio.mask,
        "timestep": t.video.expand(2) * 1000, "sigma": t.video.expand(2) * 1000, "num_frames": frames, "height": height,
        "width": width, "fps": 24.0, "audio_num_frames": audio.shape[1], "use_cross_timestep": True, "return_dict": False,
    }  # fmt: skip
    return lambda: network(**given)


OWN_PAIRS: dict[str, tuple[Any, Callable[..., Callable[[], Any]]]] = {
    "kandinsky6": (Kandinsky6Transformer3DModel, _kandinsky6_pair), "ltx2": (LTX2VideoTransformer3DModel, _ltx2_pair),
}  # fmt: skip


def run_in_turn(tasks: Mapping[str, Callable[[], Any]], runs: int, label: str) -> dict[str, list[float]]:
    """Runs all tasks in a random order in every round, and returns the CPU seconds of each round but the first."""
    order, took = random.Random(0), {name: [] for name in tasks}  # type: ignore[var-annotated]
    for _ in tqdm(range(runs + 1), desc=label):
        for name in order.sample(list(tasks), len(tasks)):
            began = time.process_time()
            tasks[name]()
            took[name].append(time.process_time() - began)
    return {name: seconds[1:] for name, seconds in took.items()}


TEXT = """## Speed

Measured at commit {commit}, in float32 on one thread of {machine}, by

    python -m duet_av.benchmarks.joint_models --runs {runs} --output docs/joint_models.md

### A step outside the network

In milliseconds, with a network that takes no time. The aim is {aim:.0f} ms, 2 % of a forward pass of 100 ms. A short latent shows
the cost of Python, which is nearly all of it on a GPU. The latents of a whole clip are read and written by a CPU here, whose
forward pass takes minutes.
"""
ROWS_TEXT = """
### The network calls of a step

The tiny random models of `small_models`, on latents of about 1,700 tokens. A cell is the median ratio of CPU time of {runs} rounds
to the model's own pair of passes for CFG, with a 95 % interval. The aim for `joint_cfg` is {pair}.
"""


def section(overheads: Mapping[str, Mapping[str, float]], rows: Mapping[str, Mapping[str, list[float]]], facts: Any) -> str:
    """Returns the text and tables of the page's section."""
    return "\n".join([
        TEXT.format(aim=AIM_OVERHEAD, **facts), *overhead_table(overheads),
        ROWS_TEXT.format(pair=AIM_PAIR, **facts), *rows_table(rows),
    ])  # fmt: skip


def overhead_table(overheads: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yields the lines of the table of overheads: seconds by latents and strategy."""
    yield f"| guidance | {' | '.join(overheads)} |"
    yield f"|---|{'---|' * len(overheads)}"
    for strategy in STRATEGIES:
        yield f"| {_code(strategy)} | {' | '.join(f'{1000 * each[strategy]:.2f}' for each in overheads.values())} |"


def rows_table(rows: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """Yields the lines of the table of ratios: seconds of every round by family and strategy."""
    yield f"| guidance | {' | '.join(f'{FAMILIES[name].name}: × {FAMILIES[name].own}' for name in rows)} |"
    yield f"|---|{'---|' * len(rows)}"
    for strategy in STRATEGIES:
        aim = AIM_PAIR if strategy == "joint_cfg" else None
        cells = (cell(ratio_of(took[strategy], took["pair"]), aim) for took in rows.values())
        yield f"| {_code(strategy)} | {' | '.join(cells)} |"


def _code(strategy: str) -> str:
    name, _, rest = strategy.partition(",")
    return f"`{name}`{',' if rest else ''}{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="default: all")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print the section")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = {"short latent": TINY} | {
        f"{FAMILIES[each].name}, {FAMILIES[each].clip}": FAMILIES[each].latents for each in args.families
    }
    overheads = {name: measure_overhead(shape, args.runs) for name, shape in sizes.items()}
    rows = {name: measure_rows(name, args.runs) for name in args.families}
    text = section(overheads, rows, {"commit": commit(PACK), "runs": args.runs, "machine": f"{os.cpu_count()} cores"})
    if not args.output:
        sys.stdout.write(text + "\n")
        return
    args.output.write_text(replace_section(args.output.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    with torch.no_grad():
        main()
