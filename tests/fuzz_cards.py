"""Model files whose cards, headers or bytes are changed: for `duet info`, for loading, and for a run with what was loaded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.load_parts import load_codec, load_expert
from duet_av.commands import main as duet
from duet_av.nodes.headless import RunError, catalogue, load_workflow, run_workflow
from duet_av.nodes.stand_in import Folders
from duet_av.tests import small
from duet_av.tests.conftest import WORKFLOW
from duet_av.tests.fuzz import Case, printed_or_line, result_or_line
from duet_av.tests.mutate import as_json, mutated, nested

JOINT = "small.safetensors"
LOADERS = {
    JOINT: load_joint_model, "video_expert.safetensors": load_expert, "audio_expert.safetensors": load_expert,
    "video.safetensors": load_codec, "audio.safetensors": load_codec,
}  # fmt: skip
CATALOGUE = catalogue()


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yields `count` cases; the first of each file is the file as it is."""
    small.save_joint(folder)
    for kind in ("video_expert", "audio_expert"):
        small.save_expert(folder, kind)
    files = {name: (folder / name).read_bytes() for name in LOADERS}
    for index in range(count):
        name = list(LOADERS)[index % len(LOADERS)] if index % 2 else JOINT
        chance = random.Random(f"{seed} {index}")
        data = files[name] if index < 2 else _changed(files[name], chance)
        yield Case(f"{name} {index}.", partial(_try, name, files | {name: data}, index < 2, index % 4 == 0))


def _changed(data: bytes, chance: random.Random) -> bytes:
    how = chance.randrange(10)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if how == 0:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 5, 50))):
            changed[chance.choice((chance.randrange(8), chance.randrange(length), chance.randrange(len(data))))] = chance.randrange(
                256
            )
        return bytes(changed)
    if how == 1:
        return data[: chance.choice((0, 4, 8, length // 2, length + 8, chance.randrange(len(data))))]
    if how == 2:
        tensors = {key: value for key, value in header.items() if key != "__metadata__"}
        return _written(mutated(tensors, chance) | {"__metadata__": header["__metadata__"]}, data[8 + length :])
    card = json.loads(header["__metadata__"]["duet"])
    text = nested(100_000) if how == 3 and chance.randrange(4) == 0 else as_json(mutated(card, chance), chance)
    return _written(header | {"__metadata__": {"duet": text}}, data[8 + length :])


def _written(header: object, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def _try(name: str, files: dict[str, bytes], whole: bool, run: bool, folder: Path) -> None:
    models = folder / "models" / "duet"
    models.mkdir(parents=True)
    for each, data in files.items():
        (models / each).write_bytes(data)
    printed_or_line(lambda: duet(["info", str(models / name)]))
    made = result_or_line(lambda: LOADERS[name](models / name))
    assert made or not whole, "an undamaged file is refused"
    if made and run:
        result_or_line(lambda: _run(folder), RunError)


def _run(folder: Path) -> None:
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    graph["1"]["inputs"]["model"] = JOINT
    graph["2"]["inputs"] |= {"video_prompt": "a red ball", "audio_prompt": "metal ball"}
    graph["3"]["inputs"]["seconds"] = 0.5
    graph["5"]["inputs"]["steps"] = 1
    file = folder / "graph.json"
    file.write_text(json.dumps(graph), encoding="utf-8")
    run_workflow(load_workflow(file), CATALOGUE, Folders(folder / "output", folder / "input", folder / "models"))
