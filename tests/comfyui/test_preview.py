"""Live previews in the real ComfyUI: who gets them, when, and with what audio."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from duet_av.tests.comfyui.graphs import SAMPLER, sampling
from duet_av.tests.comfyui.server import named_by_environment

STEPS = 20
IN_SUBGRAPH = "12:5"  # the id that the page gives to a node in a subgraph


def previews(server, seed: int, **options: Any) -> list[dict[str, Any]]:
    graph = sampling(seed, STEPS)
    graph[IN_SUBGRAPH] = graph.pop(SAMPLER)
    graph["8"]["inputs"]["source"] = [IN_SUBGRAPH, 1]
    return sent(server, graph, **options)


def sent(server, graph: dict[str, Any], **options: Any) -> list:
    """What a page that queues this graph is sent; see listen.py."""
    command = [os.environ.get("COMFYUI_PYTHON", "python3"), str(Path(__file__).with_name("listen.py")), server.url]
    done = subprocess.run([*command, json.dumps({"prompt": graph, **options})], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_that_queued_a_run_gets_previews_of_the_node(comfyui):
    previews(comfyui, 1)  # loads, and measures what a preview costs
    found = previews(comfyui, 2)
    assert found and {(each["node"], each["steps"]) for each in found} == {(IN_SUBGRAPH, STEPS)}
    for each in found:
        assert (each["count"], each["width"], each["height"], each["fps"]) == (32, 64, 64, 16.0)
        assert each["sheet"].startswith("data:image/jpeg;base64,")


def test_the_audio_that_the_page_asks_for_comes_once(comfyui):
    found = previews(comfyui, 3, ask=IN_SUBGRAPH)
    assert found[0]["audio"].startswith("data:audio/wav;base64,") and not any(each["audio"] for each in found[1:])


@pytest.mark.parametrize("body", [{}, {"node": 5}, {"node": "5" * 1000}, []])
def test_a_wrong_request_for_audio_is_refused(comfyui, body):
    status, text = comfyui.post("/duet/preview_audio", body)
    assert status == 400 and text.startswith("node is ") and text.endswith("give the id of a node as a string")


def test_a_page_that_turned_previews_off_gets_none(comfyui):
    assert previews(comfyui, 4, extra_data={"preview_method": "none"}) == []


def test_comfyui_started_without_previews_sends_them_only_to_a_page_that_wants_them(tmp_path):
    with named_by_environment(tmp_path, "--preview-method", "none") as server:
        assert previews(server, 1) == []
        previews(server, 2, extra_data={"preview_method": "auto"})
        assert previews(server, 3, extra_data={"preview_method": "auto"})
