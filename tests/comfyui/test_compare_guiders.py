"""Guiders of ComfyUI and ours compared on small models and VAEs of its own classes, with random weights."""

import json
import time
from pathlib import Path

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.server import named_by_environment

PACK = Path(__file__).parent / "native_pack"
STEPS = 3
METHODS = {
    "none": {}, "cfg": {"scale": 3.0}, "joint_cfg": {"scale": 2.5},
    "modality_cfg": {"scale": 3.0, "cross_scale": 3.0, "skip_scale": 1.0},
}  # fmt: skip
SHARED = {"noise": ["noise", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]}
KINDS = pytest.mark.parametrize("kind", ["ltx2", "h3"])


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """A ComfyUI with the small models beside our pack."""
    with named_by_environment(tmp_path_factory.mktemp("native"), packs=[PACK]) as server:
        yield server


def guiders(kind: str) -> dict:
    """Our four and ComfyUI's own, each on a model of its own that counts its calls."""
    graph = {
        f"watched{i}": node("Watched", model=["model", 0]) for i in range(len(METHODS) + 1)
    } | {"model": node("TinyModel", kind=kind, seed=1)}  # fmt: skip
    prompts = {"positive": ["yes", 0], "negative": ["no", 0]}
    for i, (name, scales) in enumerate(METHODS.items()):
        own = {f"guidance.{modality}_{key}": value for key, value in scales.items() for modality in ("video", "audio")}
        others = {"guidance.skip_block": 1} if name == "modality_cfg" else {}
        graph[f"guidance{i}"] = node("DuetGuidance", guidance=name, **own, **others, a_to_v=1.0, v_to_a=1.0)
        graph[f"guider{i}"] = node("DuetJointGuider", model=[f"watched{i}", 0], guidance=[f"guidance{i}", 0], **prompts)
    last = len(METHODS)
    graph[f"guider{last}"] = node("CFGGuider", model=[f"watched{last}", 0], **prompts, cfg=3.0)
    return graph


def compared(kind: str, cells: int = len(METHODS) + 1, **inputs) -> dict:
    """A graph that compares the first `cells` guiders."""
    vae = "ltx" if kind == "ltx2" else kind
    named = {f"guiders.guider{i}": [f"guider{i}", 0] for i in range(cells)}
    return guiders(kind) | {
        "vae": node("TinyVAE", kind=vae, seed=1), "audio_vae": node("TinyAudioVAE", kind=vae, seed=1),
        "yes": node("TinyPrompt", kind=kind, seed=11, words=6), "no": node("TinyPrompt", kind=kind, seed=12, words=6),
        "noise": node("DuetJointNoise", video_seed=1, audio_seed=2), "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=STEPS, denoise=1.0),
        "compare": node(
            "DuetCompareGuiders", **SHARED | {"latent": ["model", 1], "vae": ["vae", 0], "audio_vae": ["audio_vae", 0]} | inputs, **named
        ),
    }  # fmt: skip


def with_cell(graph: dict, cell: int, guider: int | None = None, noise: str = "noise") -> dict:
    """Adds what ComfyUI's own nodes make of a guider, and compares it with the cell."""
    own = SHARED | {"noise": [noise, 0]}
    latent = graph["compare"]["inputs"]["latent"]
    return graph | {
        f"out{cell}": node("SamplerCustomAdvanced", guider=[f"guider{cell if guider is None else guider}", 0], latent_image=latent, **own),
        f"images{cell}": node("VAEDecode", samples=[f"out{cell}", 0], vae=["vae", 0]),
        f"audio{cell}": node("VAEDecodeAudio", samples=[f"out{cell}", 0], vae=["audio_vae", 0]),
        f"same{cell}": node(
            "SameAsCell", comparison=["compare", 0], cell=cell, images=[f"images{cell}", 0], audio=[f"audio{cell}", 0]
        ),
    }  # fmt: skip


def facts(run) -> dict:
    assert run.succeeded, run.error
    return run.outputs["compare"]["duet"][0]


@KINDS
def test_each_cell_is_the_clip_of_sampler_custom_advanced_bit_for_bit(native, kind):
    graph = compared(kind)
    for cell in range(len(METHODS) + 1):
        graph = with_cell(graph, cell)
    run = native.run(graph)
    assert [each["label"] for each in facts(run)["cells"]] == [*METHODS, "CFGGuider cfg 3"]
    told = [[float(number) for number in run.texts[f"same{cell}"]] for cell in range(len(METHODS) + 1)]
    assert all(video == audio == 0 and spread > 0.05 for video, audio, spread in told), told
