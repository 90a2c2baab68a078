"""Measures joined models: how exact each stream is, and what a joined run costs beside runs of its two models.

COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.joined_models [--runs N] [--output docs/joined_models.md]

Small models of ComfyUI's own classes with random weights. For exactness, a joined run is compared with runs of the models alone,
with the same noise, on the schedule that each has in the joined run. For the cost, wider models take 0.3 s a step and more; joined
runs and runs of both models take turns in a random order, on one thread, in CPU time.
--output: replaces the section at the end of a page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..tests.comfyui.server import PACK, UNNAMED, is_named
from .ratios import cell, commit, ratio_of, replace_section

PAGE = "# Joined models\n"
PAIRS = ("wan21+stable_audio_3", "hunyuan15+ace_step_15")
NAMES = {
    "wan21": "Wan 2.1", "wan21_i2v": "Wan 2.1 I2V", "wan22_5b": "Wan 2.2 5B", "hunyuan": "HunyuanVideo",
    "hunyuan15": "HunyuanVideo 1.5", "ltxv": "LTX-Video", "cosmos": "Cosmos", "cogvideox": "CogVideoX",
    "svd": "Stable Video Diffusion", "stable_audio": "Stable Audio 1", "stable_audio_3": "Stable Audio 3",
    "ace_step": "ACE-Step 1", "ace_step_15": "ACE-Step 1.5",
}  # fmt: skip
STEPS, SMALL_STEPS, AIM = 2, 20, 1.02
TEXT = """## Measured

At commit {commit}, with ComfyUI {comfyui}, by

    COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.joined_models --runs {runs} --output docs/joined_models.md

on small models of ComfyUI's own classes with random weights, in float32 on one thread of {machine}.

### Each stream is its own model's run

The largest difference between a joined run and a run of the model alone, with the same noise and the same σ, in parts of the
latent's spread. 0 is equal to the last bit. The first figure is the video's, the second the audio's: an audio with σ of its own is
rounded otherwise. CogVideoX, Stable Video Diffusion and Stable Audio 1 begin at σ of hundreds or thousands, where float32 rounds
more.
"""
SAMPLERS = """
### Samplers

All of ComfyUI's samplers that draw no noise, five steps. Where both models have one shift, both streams are equal to the last bit.
Where the audio has σ of its own, a step of a higher-order sampler weighs its predictions by the video's σ. It differs from the
audio's own run as two schedules do, and less with more steps; it equals the run of the audio's model alone in the form in which it
is carried. `dpm_adaptive` is not among them: it chooses one step size for both streams.

| sampler | one shift: video, audio | other shifts: video | audio, to its own run | audio, to its carried run |
|---|---|---|---|---|
"""
COST = """
### Cost

CPU time of whole runs at CFG 3 ({runs} rounds; medians, with a 95 % interval). The last column is what a step costs outside the
networks, measured on models that take 1 to 4 ms.

| pair | a step of both models alone | joined run ÷ both runs alone | a joined step outside the networks |
|---|---|---|---|
"""


def exactness(pairs: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    """Yields the lines of the table of pairs and checks."""
    checks = list(max(pairs.values(), key=len))
    yield f"| pair | {' | '.join(checks)} |"
    yield f"|---|{'---|' * len(checks)}"
    for pair, found in pairs.items():
        cells = [", ".join(map(figure, found[check])) if check in found else "–" for check in checks]
        yield f"| {name_of(pair)} | {' | '.join(cells)} |"


def samplers(found: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yields the lines of the table of samplers."""
    for name, each in found.items():
        video, audio, other, own, carried = map(figure, each)
        yield f"| `{name}` | {video}, {audio} | {other} | {own} | {carried} |"


def costs(found: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> Iterator[str]:
    """Yields the lines of the table of costs. found: CPU seconds by pair, size of the models and task."""
    for pair, sizes in found.items():
        alone, small = (_both(sizes[size]) for size in ("wide", "small"))
        ratio = ratio_of(sizes["wide"]["joined"], alone)
        outside = statistics.median(a - b for a, b in zip(sizes["small"]["joined"], small, strict=True)) / SMALL_STEPS
        step = statistics.median(alone) / STEPS
        yield f"| {name_of(pair)} | {step:.2f} s | {cell(ratio, AIM)} | {1000 * outside:.1f} ms |"


def _both(took: Mapping[str, Sequence[float]]) -> list[float]:
    return [video + audio for video, audio in zip(took["video"], took["audio"], strict=True)]


def figure(value: float) -> str:
    """Writes a difference; 0 only if there is none."""
    return f"{value:.0f}" if value == 0 or value >= 1 else f"{value:.0e}".replace("e-0", "e-")


def name_of(pair: str) -> str:
    """Returns what users call a pair of small models."""
    return " + ".join(NAMES[each.strip()] for each in pair.split("+"))


def compare() -> dict[str, Any]:
    """Compares joined runs with runs of the models alone, as the tests do."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "found.json"
        script, tables = PACK / "tests" / "comfyui" / "run_joined_models.py", ("pairs", "samplers")
        _run([str(script), os.environ["COMFYUI_PATH"], str(result), *tables], folder)
        return json.loads(result.read_text(encoding="utf-8"))


def measure(runs: int) -> dict[str, Any]:
    """Runs `joined_models_comfyui` in ComfyUI's Python, where this package can be imported."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "duet_av").symlink_to(PACK)
        result = Path(folder) / "found.json"
        options = ["--runs", str(runs), "--steps", str(STEPS), "--small-steps", str(SMALL_STEPS), "--output", str(result)]
        _run(["-m", "duet_av.benchmarks.joined_models_comfyui", *PAIRS, *options], folder)
        return json.loads(result.read_text(encoding="utf-8"))


def _run(command: list[str], folder: str) -> None:
    path = f"{folder}{os.pathsep}{Path(os.environ['COMFYUI_PATH']).resolve()}"
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if code := subprocess.run([os.environ.get("COMFYUI_PYTHON", "python3"), *command], env=os.environ | environment).returncode:
        sys.exit(code)


def section(found: Mapping[str, Any], took: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Returns the text and tables of the page's section. found: of `compare`. took: of `measure`."""
    parts = [TEXT.format(**facts), *exactness(found["pairs"]), SAMPLERS.rstrip(), *samplers(found["samplers"])]
    return "\n".join([*parts, COST.format(**facts).rstrip(), *costs(took)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print the section")
    args = parser.parse_args()
    if not is_named():
        parser.error(UNNAMED)
    facts = {name: commit(folder) for name, folder in (("commit", PACK), ("comfyui", Path(os.environ["COMFYUI_PATH"])))}
    text = section(compare(), measure(args.runs), facts | {"runs": args.runs, "machine": f"{os.cpu_count()} cores"})
    if not args.output:
        sys.stdout.write(text)
        return
    page = args.output.read_text(encoding="utf-8") if args.output.exists() else PAGE
    args.output.write_text(replace_section(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
