"""Measures Duet's guidance on the joint models of ComfyUI, beside the guiders of ComfyUI and of ComfyUI-LTXVideo.

COMFYUI_PATH=… COMFYUI_PYTHON=… LTXVIDEO_PATH=… python -m duet_av.benchmarks.native [--runs N] [--output docs/native_models.md]

Small LTX-2 and MiniMax-H3 models of ComfyUI's own classes with random weights are sampled by euler in one process, on one thread.
Guiders of equal settings are checked to give the same. All run in turn, in a random order; the first round is dropped.
Network calls and rows are counted at the network. Times are the CPU time of whole runs, with --wall the wall time. Ratios are
medians of the ratios of a round, with a 95 % bootstrap interval.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..tests.comfyui.ltxvideo import link_guider, ltxvideo_path
from ..tests.comfyui.server import PACK, UNNAMED, is_named
from .ratios import cell, commit, ratio_of, replace_section

PAGE = "# LTX-2 and MiniMax-H3\n"
COMMAND = (
    "COMFYUI_PATH=… COMFYUI_PYTHON=… LTXVIDEO_PATH=… python -m duet_av.benchmarks.native --runs {runs} "
    "--output docs/native_models.md"
)
REFERENCES = {
    "basic": "no guidance", "dual": "dual CFG", "modality": "dual CFG + modality", "peer": "Multimodal Guider",
}  # fmt: skip
STG = {"modality": "modality_stg", "peer": "peer_stg"}
TEXT = """## What guidance costs

Measured at commit {commit}, with ComfyUI {comfyui} and ComfyUI-LTXVideo {ltxvideo} (unmodified), by

    {command}

The models are of ComfyUI's own classes, with random weights, in float32 on one thread of {machine}, with torch's attention. Each
guider runs {runs} times, in a random order with the others. A cell is the median ratio of {clock} time, with a 95 % interval. Calls
of the network and rows are per step, counted at the network. Guiders with equal settings give the same, which is checked first.
"""
LTX = """
### LTX-2, {layers} layers, widths {video_width} and {audio_width}, {video} video and {audio} audio tokens

{time}

Compared to ComfyUI's own *CFG Guider* at CFG 1 (no guidance), *LTXV Dual CFG Guider*, the same with *LTXV Modality Guidance*, and
ComfyUI-LTXVideo's *Multimodal Guider*. With a skipped block, the last two skip it too (*LTXV Spatio-Temporal Guidance*).
"""
H3 = """
### MiniMax-H3, {layers} layer, width {width}, {tokens} tokens

{text} text, {video} video and {audio} audio tokens. A coupled pass takes {seconds:.1f} s. The mask takes {mask} MiB.

| pass | × coupled |
|---|---|
| cut: each modality attends to itself and its own copy of the text | {cut} |
| cut by a dense mask | {masked} |
"""
SIZES = {
    "small": "Much of the time is Python's, as with short clips on a fast GPU: each call counts.",
    "large": "Nearly all of the time is arithmetic, as with long clips: each row counts.",
}
STEPS = {"small": 4, "large": 2, "h3": 1}  # of a run


class Row(NamedTuple):
    """A row of the table: a case, what it is called, and the highest ratios that are aimed at, by reference."""

    case: str
    name: str
    aims: Mapping[str, float] = {}
    references: Mapping[str, str] = {}  # other cases to compare with, by column


ROWS = [
    Row("dual", "ComfyUI: dual CFG"), Row("modality", "ComfyUI: dual CFG + modality"),
    Row("modality_stg", "ComfyUI: dual CFG + modality + STG"), Row("peer", "LTXVideo: Multimodal Guider"),
    Row("peer_stg", "LTXVideo: Multimodal Guider with STG"),
    Row("none", "`none`"), Row("cfg", "`cfg`", {"dual": 1.0}),
    Row("joint_cfg", "`joint_cfg`", {"dual": 1.0, "modality": 0.65, "peer": 0.6}),
    Row("dual_cfg", "`dual_cfg`"), Row("modality_cfg", "`modality_cfg`"),
    Row("modality_cfg_skip", "`modality_cfg`, skipped block", {"modality": 0.85, "peer": 0.85}, STG),
    Row("half", "`none`, a_to_v 0.5"), Row("one_way", "`none`, v_to_a 0"), Row("joint_cfg_half", "`joint_cfg`, a_to_v 0.5"),
    Row("cfg_pp", "`cfg`, CFG++ sampler", {"dual": 1.0}, {"dual": "dual_pp"}),
    Row("joint_cfg_pp", "`joint_cfg`, CFG++ sampler", {"dual": 1.0}, {"dual": "dual_pp"}),
]  # fmt: skip


def table(cases: Mapping[str, Any], clock: str) -> Iterator[str]:
    """Yields the lines of the table of guidances. cases: what `native_comfyui.measure` found."""
    yield f"| guidance | calls | rows | {' | '.join(f'× {name}' for name in REFERENCES.values())} |"
    yield f"|---|---|---|{'---|' * len(REFERENCES)}"
    for row in ROWS:
        case = cases[row.case]
        counts = f"{case['calls']:g} | {case['rows']:g}"
        cells = [_against(cases, row, each, clock) for each in REFERENCES]
        yield f"| {row.name} | {counts} | {' | '.join(cells)} |"


def _against(cases: Mapping[str, Any], row: Row, reference: str, clock: str) -> str:
    other = row.references.get(reference, reference)
    if other == row.case or (row.references and reference != "basic" and reference not in row.references):
        return "–"
    return cell(ratio_of(cases[row.case][clock], cases[other][clock]), row.aims.get(reference))


def section(found: Mapping[str, Any], clock: str, facts: Mapping[str, Any]) -> str:
    """Returns the text and tables of the page's section. found: of each size, what `native_comfyui` wrote."""
    parts = [TEXT.format(**facts, command=COMMAND.format(runs=facts["runs"]))]
    for size, time in SIZES.items():
        if size in found:
            parts += [LTX.format(**_ltx_facts(found[size]["facts"]), time=time), *table(found[size]["cases"], clock)]
    if "h3" in found:
        parts.append(_h3(found["h3"], clock))
    return "\n".join(parts)


def _ltx_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    network, (video, audio) = facts["network"], facts["latents"]
    widths = {"video_width": network["cross_attention_dim"], "audio_width": network["audio_cross_attention_dim"]}
    return widths | {"layers": network["num_layers"], "video": video[2] * video[3] * video[4], "audio": audio[2]}


def _h3(found: Mapping[str, Any], clock: str) -> str:
    facts, cases = found["facts"], {name: case[clock] for name, case in found["cases"].items()}
    text, (video, audio) = facts["texts"][0], facts["latents"]
    counts = {"text": text, "video": video[2] * video[3] * video[4] // 4, "audio": 2 * audio[3]}
    ratios = {name: cell(ratio_of(cases[name], cases["coupled"])) for name in ("cut", "masked")}
    network = {"layers": facts["network"]["num_layers"], "width": facts["network"]["hidden_size"]}
    tokens, seconds = sum(counts.values()), statistics.median(cases["coupled"]) / facts["steps"]
    mask = (tokens + text) ** 2 >> 20  # a byte for each pair of tokens
    return H3.format(**network, **counts, **ratios, tokens=tokens, seconds=seconds, mask=mask)


def measure(size: str, runs: int, steps: int) -> dict[str, Any]:
    """Runs `native_comfyui` in ComfyUI's Python, where this package and the guider of ComfyUI-LTXVideo can be imported."""
    checkout = Path(os.environ["COMFYUI_PATH"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        packages, output = Path(folder), Path(folder) / "found.json"
        (packages / "duet_av").symlink_to(PACK)
        link_guider(packages / "ltxvideo")
        paths = {"PYTHONPATH": f"{folder}{os.pathsep}{checkout}", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        options = ["--runs", str(runs), "--steps", str(steps), "--output", str(output)]
        command = [os.environ.get("COMFYUI_PYTHON", "python3"), "-m", "duet_av.benchmarks.native_comfyui", size, *options]
        if code := subprocess.run(command, env=os.environ | paths, cwd=folder).returncode:
            sys.exit(code)
        return json.loads(output.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES, "h3"], default=[*SIZES, "h3"], help="models; default: all")
    parser.add_argument("--wall", action="store_true", help="show wall time instead of CPU time, for a quiet machine")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print the section")
    args = parser.parse_args()
    if not is_named():
        parser.error(UNNAMED)
    checkouts = {"commit": PACK, "comfyui": Path(os.environ["COMFYUI_PATH"]), "ltxvideo": ltxvideo_path()}
    facts = {name: commit(folder) for name, folder in checkouts.items()}
    facts |= {"runs": args.runs, "machine": f"{os.cpu_count()} cores", "clock": "wall" if args.wall else "CPU"}
    found = {size: measure(size, args.runs, STEPS[size]) for size in args.sizes}
    text = section(found, "wall" if args.wall else "cpu", facts)
    if not args.output:
        sys.stdout.write(text)
        return
    page = args.output.read_text(encoding="utf-8") if args.output.exists() else PAGE
    args.output.write_text(replace_section(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
