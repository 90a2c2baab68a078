"""Best Take and the semantic scores of Sync Report in the real ComfyUI."""

import json
import time

import pytest

from duet_av.tests.comfyui.graphs import node, prompt
from duet_av.tests.conftest import WORKFLOW

TITLES = {"take", "video seed", "audio seed", "score", "sync F1", "chance", "agreement", "LUFS", "faults"}


def taking(takes: int, seed: int = 2, steps: int = 4, **inputs):
    """Sounds for one video, scored with Bounce-Bind."""
    graph = prompt(WORKFLOW.with_name("bounce_v2a.json"))
    sampler, _ = graph.pop("5"), graph.pop("6")
    given = {name: sampler["inputs"][name] for name in ("model", "prompts", "latent", "guidance", "shift", "batch_branches", "eta")}
    choices = {"takes": takes, "vary": "audio seed", "video_seed": 1, "audio_seed": seed, "steps": steps, "binder": "Bounce-Bind"}
    graph["takes"] = node("DuetBestTake", **given, **choices | inputs)
    graph["7"]["inputs"]["audio"] = ["takes", 2]
    graph["sheet"] = node("PreviewImage", images=["takes", 5])
    graph["decode"] = node("DuetDecode", model=["1", 0], latent=["takes", 0])
    graph["report"] = node(
        "DuetSyncReport", images=["decode", 0], audio=["decode", 1], fps=["takes", 3], binder="Bounce-Bind",
        video_prompt=["8", 2], audio_prompt=["8", 3],
    )  # fmt: skip
    return graph


def shown(run, key="takes"):
    return run.outputs[key]["duet"][0]


def test_the_best_of_some_sounds_is_saved_with_the_video(comfyui):
    run = comfyui.run(taking(3))
    assert run.succeeded, run.messages
    assert {file.suffix for file in run.files} == {".mp4"} and run.outputs["sheet"]["images"]
    takes, (clip,) = shown(run)["takes"], shown(run, "report")["clips"]
    assert set(shown(run)["table"]["head"]) == TITLES and len(takes) == 3
    assert [take["score"] for take in takes] == sorted((take["score"] for take in takes), reverse=True)
    best = takes[0]["measured"]  # its latent, decoded and measured again, is the same
    assert clip["sync"] == best["sync"] and clip["agreement"]["video_audio"] == pytest.approx(
        best["agreement"]["video_audio"], abs=1e-4
    )
    assert "chance (Bounce-Bind): needs a batch of clips" in run.texts["report"]
    assert "images" in run.outputs["takes"]  # the contact sheet is on the node


def test_more_takes_make_only_the_new_ones(comfyui):
    comfyui.run(taking(2, seed=40))
    run = comfyui.run(taking(3, seed=40))
    assert run.succeeded and "2 of 3 takes are from the last run" in run.texts["takes"]
    assert "3 of 3 takes are from the last run" in comfyui.run(taking(3, seed=40, sync_weight=0.5)).texts["takes"]


def test_cancelling_keeps_the_takes_that_are_done(comfyui):
    comfyui.run(taking(1, seed=60))
    began = time.time()
    comfyui.run(taking(1, seed=61))
    once = time.time() - began
    cancelled = comfyui.submit(taking(40, seed=62))
    comfyui.wait_until_running(cancelled)
    time.sleep(3 * once)
    comfyui.post("/interrupt", {"prompt_id": cancelled})
    run = comfyui.finish(cancelled)
    assert run.messages["execution_interrupted"]["node_type"] == "DuetBestTake"
    run = comfyui.run(taking(3, seed=62))
    (line,) = [line for line in run.texts["takes"] if line.endswith("of 3 takes are from the last run")]
    assert int(line[0]) >= 1


def test_a_missing_binder_is_refused_before_the_run(comfyui):
    status, text = comfyui.post("/prompt", {"prompt": taking(1, binder="gone.safetensors")})
    error = json.loads(text)["node_errors"]["takes"]["errors"][0]
    assert status == 400 and "gone.safetensors" in error["details"] + str(error["extra_info"])
