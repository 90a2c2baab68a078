"""Changed workflows in API format, for `duet run`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from duet_av.benchmarks.forked import run_in_child
from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.commands import main as duet
from duet_av.nodes.headless import catalogue
from duet_av.tests.conftest import WORKFLOW
from duet_av.tests.fuzz import Case, printed_or_line
from duet_av.tests.mutate import as_json, mutated, nested

CLIP = "clip.mp4"


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yields `count` cases; the first of each graph is the graph as it is."""
    catalogue()  # imported before the fork
    made = run_in_child(lambda: write_clip(folder / CLIP, Pictures(size=(64, 48), frames=10), Sound(seconds=0.4, click=0.2)))
    assert not made.error, made.error
    graphs = [_generation(), _measurement(), _new_audio()]
    for index in range(count):
        graph, chance = graphs[index % len(graphs)], random.Random(f"{seed} {index}")
        whole = index < len(graphs)
        text = json.dumps(graph) if whole else _changed(graph, chance)
        yield Case(f"workflow {index}.", partial(_try, text, folder, whole))


def _changed(graph: dict, chance: random.Random) -> str:
    how = chance.randrange(20)
    if how == 0:
        return nested(chance.choice((10, 2_000, 100_000)))
    if how == 1:
        key = chance.choice(list(graph))
        return json.dumps(graph | {key: graph[key] | {"inputs": {"x": 0}}}).replace('{"x": 0}', nested(100_000))
    return as_json(mutated(graph, chance), chance)


def _try(text: str, inputs: Path, whole: bool, folder: Path) -> None:
    from duet_av.bounce import shipped
    from duet_av.tests.tiny import tiny_model

    shipped.load_joint_model = lambda source: tiny_model()
    file, out = folder / "graph.json", folder / "output"
    file.write_text(text, encoding="utf-8")
    made = printed_or_line(lambda: duet(["run", str(file), "--output-dir", str(out), "--input-dir", str(inputs)]))
    assert made or not whole, "an unchanged workflow is refused"
    left = [each.name for each in out.rglob("*")] if out.exists() else []
    assert not any(name.endswith(".part") for name in left), f"left {left}"


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def _generation() -> dict:
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    graph["3"]["inputs"]["seconds"] = 0.5
    graph["5"]["inputs"]["steps"] = 1
    graph["2"]["inputs"] |= {"video_prompt": "a red ball", "audio_prompt": "metal ball"}
    return graph


def _measurement() -> dict:
    return {"1": _node("LoadVideo", file=CLIP), "2": _node("DuetSyncReport", video=["1", 0], fps=16.0)}


def _new_audio() -> dict:
    audio = _node("LoadAudio", audio=CLIP)
    parts = _node("GetVideoComponents", video=["1", 0])
    save = _node("DuetReplaceSound", video=["1", 0], audio=["2", 0], filename_prefix="new", audio_kbps=64)
    mux = json.loads(WORKFLOW.read_text(encoding="utf-8"))["7"]["inputs"] | {"images": ["3", 0], "audio": ["3", 1], "fps": ["3", 2]}
    return {"1": _node("LoadVideo", file=CLIP), "2": audio, "3": parts, "4": save, "5": _node("DuetMux", **mux)}
