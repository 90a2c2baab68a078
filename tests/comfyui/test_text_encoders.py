"""ComfyUI's own text encoders in Prompts for Video and Audio."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from shutil import rmtree

import pytest

from duet_av.benchmarks.small_models import kandinsky6
from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_joint_models import SIZE, graph_of, titled

FOLDER = "small-kandinsky-6"


@pytest.mark.parametrize("family, needed", [
    ("kandinsky6", True), ("ltx2-2.0", False), ("ltx2-2.3", False), ("ltx2-2.5", False), ("ovi", False), ("wan", False),
])  # fmt: skip
def test_conditions_equal_those_of_the_models_own_encoders(tmp_path, family, needed):
    """With the same weights and tokenizers. needed: whether those of CLIP Text Encode differ even for an empty prompt."""
    folder, result = tmp_path / "model", tmp_path / "result.json"
    folder.mkdir()
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name("run_text_encoders.py")
    command = [python, str(script), os.environ["COMFYUI_PATH"], family, str(folder), str(result)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    words, empty, long = json.loads(result.read_text())
    assert all(each["clip"] <= 1e-5 for each in (words, empty, long))
    assert words["tokens"] > 20 and long["tokens"] == (512 if family in ("ovi", "wan") else 1024)
    assert words["plain"] > 0.1  # it takes parentheses for weights, or drops a backslash
    assert (empty["plain"] > 0.1) == needed


@pytest.fixture(scope="module")
def model(native):
    folder = native.base / "models" / "diffusers" / FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    kandinsky6.build(folder)
    for part in folder.glob("text_encoder*"):
        rmtree(part)
    yield native
    rmtree(folder)


def template(width: int) -> tuple[dict, str]:
    """The template with a text encoder of ComfyUI, and the key of its prompts."""
    graph = graph_of("kandinsky6_t2av", **SIZE)
    titled(graph, "Model")["inputs"]["model"] = FOLDER
    key = next(key for key, each in graph.items() if each["class_type"] == "DuetEncodePrompts")
    graph["clip"] = node("TinyClip", width=width)
    graph[key]["inputs"]["clip"] = ["clip", 0]
    return graph, key


def test_a_clip_is_made_without_the_models_text_encoders(model):
    graph, prompts = template(16)
    run = model.run(graph)
    assert run.succeeded and len(run.files) == 1, run.messages
    assert run.texts[prompts][-1].startswith("encoded by clip as in training: ")


def test_another_width_is_one_line(model):
    assert model.run(template(20)[0]).error.startswith("clip: the embeddings are 20 wide, and Kandinsky 6 needs 16; ")
