"""Joint models that people can download in the real ComfyUI, from the folders where it keeps them: their templates and more."""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from shutil import rmtree

import pytest
from PIL import Image

from duet_av.av_models.media import read_video, write_video
from duet_av.av_models.published.downloads import DOWNLOADS
from duet_av.av_models.published.joint import find_ovi_file
from duet_av.tests.comfyui.graphs import node
from duet_av.tests.page import FOLDER, JOINT
from duet_av.tests.test_joint_given import KEPT, frames
from duet_av.tests.test_joint_templates import FAMILY, model_of

NAMES = {FAMILY[template]: model_of(template) for template in JOINT}
SIZE = {"size": "custom", "size.width": 64, "size.height": 64, "size.fps": 24.0}
SLACK = 1.0  # seconds, for what is not sampling


@pytest.fixture(scope="module")
def models(comfyui):
    """A small model of each family where the templates look for it, an image and a video."""
    folders = []
    for family, name in NAMES.items():
        folders.append(comfyui.base / "models" / DOWNLOADS[name].parts[0].folder)
        folders[-1].parent.mkdir(parents=True, exist_ok=True)
        import_module(f"duet_av.benchmarks.small_models.{family}").build(folders[-1])
        if (towers := find_ovi_file(folders[-1])) is not None:
            towers.rename(folders[-1] / Path(name).name)
    Image.new("RGB", (96, 64), "teal").save(comfyui.base / "input" / "example.png")
    write_video(frames(12), comfyui.base / "input" / "given.mp4", fps=24, audio=frames(1).reshape(1, -1), sample_rate=16_000)
    yield comfyui
    for folder in folders:
        rmtree(folder)


def graph_of(name: str, **latent: object) -> dict:
    """A template, of a small clip in two steps. latent: its inputs."""
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    titled(graph, "Latent")["inputs"] |= {"seconds": 0.2, **latent}
    titled(graph, "Sampler")["inputs"]["steps"] = 2
    return graph


def titled(graph: dict, title: str) -> dict:
    return next(each for each in graph.values() if each["_meta"]["title"] == title)


def key_of(graph: dict, title: str) -> str:
    return next(key for key, each in graph.items() if each["_meta"]["title"] == title)


def test_the_models_are_offered(models):
    offered = json.loads(models.get("/object_info/DuetLoadJointModel"))["DuetLoadJointModel"]["input"]["required"]["model"][1]
    assert set(offered["options"]) == {"Bounce", "Bounce JointDiT", "Hearing study T2AV", *NAMES.values()}


@pytest.mark.parametrize("name", JOINT)
def test_a_template_makes_a_file(models, name):
    run = models.run(graph_of(name, **({} if "i2av" in name else SIZE)))
    assert run.succeeded, run.messages
    clip = read_video(run.files[0])
    assert len(clip.frames) == 5 and clip.audio is not None


@pytest.mark.parametrize(
    "family, keep", [*(("ltx2", keep) for keep in KEPT), ("ovi", "the first frame"), ("kandinsky6", "the audio")]
)
def test_given_parts_are_taken(models, family, keep):
    graph = graph_of(next(name for name in JOINT if FAMILY[name] == family))
    graph[key_of(graph, "Latent")] = node(
        "DuetEncode", model=titled(graph, "Latent")["inputs"]["model"], fps=24.0, seconds=0.4, keep=keep, video=["file", 0],
        **({"keep.until": 0.2} if keep == "a beginning" else {}),
    ) | {"_meta": {"title": "Latent"}}  # fmt: skip
    graph["file"] = node("LoadVideo", file="given.mp4") | {"_meta": {"title": "File"}}
    run = models.run(graph)
    assert run.succeeded, run.messages
    assert len(read_video(run.files[0]).frames) == 10


def test_the_report_of_the_loader_is_shown(models):
    graph = graph_of("kandinsky6_t2av", **SIZE)
    titled(graph, "Model")["inputs"]["precision"] = "bf16"
    run = models.run(graph)
    text = run.texts[key_of(graph, "Model")]
    assert "licence MIT" in text[0] and "Not tried with published weights yet." in text, text


def test_a_folder_of_another_pipeline_and_a_missing_model_are_one_line(models):
    other = models.base / "models" / "diffusers" / "flux"
    other.mkdir(parents=True)
    (other / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    for name, words in (("flux", "FluxPipeline"), ("Kandinsky-6.0-Pro-5s-Diffusers", "hf download kandinskylab/")):
        graph = graph_of("kandinsky6_t2av", **SIZE)
        titled(graph, "Model")["inputs"]["model"] = name
        status, text = models.post("/prompt", {"prompt": graph})
        (error,) = json.loads(text)["node_errors"][key_of(graph, "Model")]["errors"]
        assert status == 400 and words in error["details"]
    rmtree(other)


def test_cancelling_ends_within_a_step(models):
    graph = graph_of("ltx2_diffusers", **SIZE | {"size.width": 512, "size.height": 512, "seconds": 2.0})
    sampler = titled(graph, "Sampler")["inputs"]
    models.run(graph)
    sampler |= {"video_seed": 5, "steps": 4}
    step = models.run(graph).seconds / 4
    sampler |= {"video_seed": 6, "steps": 1000}
    cancelled = models.submit(graph)
    models.wait_until_running(cancelled)
    time.sleep(3 * step)
    asked = time.time()
    models.post("/interrupt", {"prompt_id": cancelled})
    run = models.finish(cancelled)
    assert run.messages["execution_interrupted"]["node_type"] == "DuetJointSampler"
    assert run.ended - asked <= step + SLACK
