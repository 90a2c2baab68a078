"""The pack in the real ComfyUI: its nodes, its workflows, cancelling, and what is said of bad prompts."""

import json
import time

import pytest

from duet_av.tests.comfyui.graphs import prompt, sampling, short
from duet_av.tests.comfyui.server import NAME, PACK
from duet_av.tests.conftest import WORKFLOW
from duet_av.tests.test_object_info import SNAPSHOT

WORKFLOWS = sorted(WORKFLOW.parent.glob("bounce_*.json"))
STEPS = 10
SLACK = 0.5  # seconds, for what is not sampling


def test_the_nodes_are_as_the_stand_in_has_them(comfyui):
    ours = {name: info for name, info in json.loads(comfyui.get("/object_info")).items() if name.startswith("Duet")}
    assert {info["python_module"] for info in ours.values()} == {f"custom_nodes.{NAME}"}
    ours = {name: info | {"python_module": None} for name, info in ours.items()}
    assert ours == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


HELP = PACK / "web" / "docs"


@pytest.mark.parametrize("page", sorted(page.relative_to(HELP).as_posix() for page in HELP.rglob("*.md")))
def test_help_is_where_the_page_looks_for_it(comfyui, page):
    assert comfyui.get(f"/extensions/{NAME}/docs/{page}") == (HELP / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_and_saves_a_file(comfyui, path):
    run = comfyui.run(prompt(path))
    assert run.succeeded, run.messages
    assert run.files and all(file.stat().st_size > 0 for file in run.files)


def test_cancelling_ends_within_a_step_and_the_next_prompt_runs(comfyui):
    comfyui.run(sampling(1, STEPS))  # loads; from here on only the sampler runs
    step = comfyui.run(sampling(2, STEPS)).seconds / STEPS
    cancelled = comfyui.submit(sampling(3, 1000))
    comfyui.wait_until_running(cancelled)
    time.sleep(3 * step)
    asked = time.time()
    comfyui.post("/interrupt", {"prompt_id": cancelled})
    run = comfyui.finish(cancelled)
    assert run.messages["execution_interrupted"]["node_type"] == "DuetJointSampler"
    assert run.ended - asked <= step + SLACK
    assert comfyui.run(sampling(4, 2)).succeeded


def test_another_guidance_runs_only_what_depends_on_it(comfyui):
    graph = short(seed=5)
    comfyui.run(graph)
    graph["4"]["inputs"]["guidance.video_scale"] = 2.0
    run = comfyui.run(graph)
    assert run.succeeded and set(run.messages["execution_cached"]["nodes"]) == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("key", "name", "value", "kind"),
    [
        ("1", "model", "gone.safetensors", "custom_validation_failed"),
        ("5", "steps", -1, "value_smaller_than_min"),
    ],
)
def test_a_bad_prompt_is_refused_and_the_input_named(comfyui, key, name, value, kind):
    graph = prompt()
    graph[key]["inputs"][name] = value
    status, text = comfyui.post("/prompt", {"prompt": graph})
    error = json.loads(text)["node_errors"][key]["errors"][0]
    assert status == 400 and error["type"] == kind
    assert name in error["details"] and str(value) in error["details"] + str(error["extra_info"])
