"""Experts that people download in the real ComfyUI, from the folders where it keeps them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from duet_av.av_models.media import read_video
from duet_av.benchmarks.small_models import wan, wan_tangoflux
from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_joint_models import SIZE, graph_of, key_of, titled

TEMPLATE, WAN21 = "wan_tangoflux_t2av", "wan2.1_t2v_1.3B_fp16.safetensors"


@pytest.fixture(scope="module")
def experts(comfyui):
    """The small pair, another Wan, and a LoRA for it."""
    models = comfyui.base / "models"
    before = set(models.rglob("*"))
    wan_tangoflux.build(models, steps=32)
    wan.write_network(models / "unet" / WAN21, wan.transformer("t2v"))
    wan.write_vae(models / wan.VAES["t2v"], "t2v")
    (models / "loras").mkdir(exist_ok=True)
    key = "diffusion_model.blocks.0.self_attn.q.lora_"
    save_file(
        {f"{key}down.weight": torch.ones(2, 96), f"{key}up.weight": torch.ones(96, 2)}, models / "loras" / "style.safetensors"
    )
    yield comfyui
    for path in sorted(set(models.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def options(experts, name: str, group: str, key: str) -> list[str]:
    return json.loads(experts.get(f"/object_info/{name}"))[name]["input"][group][key][1]["options"]


def test_files_are_offered_where_comfyui_has_them(experts):
    names = options(experts, "DuetLoadVideoExpert", "required", "expert")
    assert {"wan2.2_ti2v_5B_fp16.safetensors", WAN21, "TangoFlux"} <= set(names)
    assert not any("tangoflux.safetensors" in name for name in names)
    assert "umt5_xxl_fp16.safetensors" in options(experts, "DuetLoadVideoExpert", "optional", "text_encoder")
    assert {"wan2.2_vae.safetensors", "wan_2.1_vae.safetensors"} <= set(options(experts, "DuetLoadVideoExpert", "optional", "vae"))
    assert options(experts, "DuetVideoExpertLora", "required", "lora") == ["style.safetensors"]


def test_the_template_makes_a_file(experts):
    graph = graph_of(TEMPLATE, **SIZE)
    run = experts.run(graph)
    assert run.succeeded, run.messages
    clip = read_video(run.files[0])
    assert len(clip.frames) == 5 and clip.sample_rate == 44_100
    assert "text encoder: umt5_xxl_fp16.safetensors" in run.texts[key_of(graph, "Video expert")]


def test_a_lora_changes_the_clip_and_a_vae_of_comfyui_does_not(experts):
    frames = {}
    for name in ("plain", "lora", "vae"):
        graph = graph_of(TEMPLATE, **SIZE | {"size.fps": 16.0})
        loader, model = key_of(graph, "Video expert"), titled(graph, "Model")["inputs"]
        graph[loader]["inputs"]["expert"] = WAN21
        if name == "lora":
            graph["lora"] = node("DuetVideoExpertLora", video_expert=[loader, 0], lora="style.safetensors", strength=1.0)
            model["video_expert"] = ["lora", 0]
        if name == "vae":
            graph["vae"] = node("VAELoader", vae_name="wan_2.1_vae.safetensors")
            model["video_vae"] = ["vae", 0]
        for key, each in graph.items():
            each.setdefault("_meta", {"title": key})
        run = experts.run(graph)
        assert run.succeeded, run.messages
        frames[name] = np.asarray(read_video(run.files[0]).frames, dtype=float)
    changed = {name: np.abs(frames["plain"] - frames[name]).mean() for name in ("lora", "vae")}
    assert changed["lora"] > 10 * changed["vae"]


def test_a_vae_of_comfyui_is_our_own(tmp_path):
    """With the same small files: encoding and decoding, in parts of the largest value."""
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name("run_vae_codecs.py")
    command = [python, str(script), os.environ["COMFYUI_PATH"], str(tmp_path), str(tmp_path / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads((tmp_path / "result.json").read_text())
    assert "video_vae holds AudioOobleckVAE" in made.pop("refused") and set(made) == {"ti2v", "t2v", "oobleck"}
    for each in made.values():
        assert each["encode"] < 1e-5 and each["decode"] < 1e-5 and each["stride"] and each["equal"]
