"""Guiders of ComfyUI and ours compared on small models and VAEs of its own classes, with random weights."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from duet_av.tests.comfyui.graphs import node

STEPS = 3
METHODS = {
    "none": {}, "cfg": {"scale": 3.0}, "joint_cfg": {"scale": 2.5},
    "modality_cfg": {"scale": 3.0, "cross_scale": 3.0, "skip_scale": 1.0},
}  # fmt: skip
SHARED = {"noise": ["noise", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]}
PROMPTS = {"positive": ["yes", 0], "negative": ["no", 0]}
DECODED = {"latent": ["model", 1], "vae": ["vae", 0], "audio_vae": ["audio_vae", 0]}
KINDS = pytest.mark.parametrize("kind", ["ltx2", "h3"])


def guiders(kind: str) -> dict:
    """Our four and ComfyUI's own, each on a model of its own that counts its calls."""
    graph = {f"watched{i}": node("Watched", model=["model", 0], copy=i) for i in range(len(METHODS) + 1)}
    graph["model"] = node("TinyModel", kind=kind, seed=1)
    for i, (name, scales) in enumerate(METHODS.items()):
        own = {f"guidance.{modality}_{key}": value for key, value in scales.items() for modality in ("video", "audio")}
        others = {"guidance.skip_block": 1} if name == "modality_cfg" else {}
        graph[f"guidance{i}"] = node("DuetGuidance", guidance=name, **own, **others, a_to_v=1.0, v_to_a=1.0)
        graph[f"guider{i}"] = node("DuetJointGuider", model=[f"watched{i}", 0], guidance=[f"guidance{i}", 0], **PROMPTS)
    last = len(METHODS)
    graph[f"guider{last}"] = node("CFGGuider", model=[f"watched{last}", 0], **PROMPTS, cfg=3.0)
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
        "compare": node("DuetCompareGuiders", **SHARED | DECODED | inputs, **named),
    }  # fmt: skip


def with_cell(graph: dict, cell: int) -> dict:
    """Adds what ComfyUI's own nodes make of a guider, and compares it with its cell."""
    own = SHARED | {"guider": [f"guider{cell}", 0], "latent_image": graph["compare"]["inputs"]["latent"]}
    theirs = {"images": [f"images{cell}", 0], "audio": [f"audio{cell}", 0]}
    return graph | {
        f"out{cell}": node("SamplerCustomAdvanced", **own),
        f"images{cell}": node("VAEDecode", samples=[f"out{cell}", 0], vae=["vae", 0]),
        f"audio{cell}": node("VAEDecodeAudio", samples=[f"out{cell}", 0], vae=["audio_vae", 0]),
        f"same{cell}": node("SameAsCell", comparison=["compare", 0], cell=cell, **theirs),
    }


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


@KINDS
def test_rows_and_calls_are_those_that_a_hook_counts(native, kind):
    graph = compared(kind)
    graph["model"]["inputs"]["seed"] = 41  # that has not been counted yet
    graph["after"] = node("LatentAfter", latent=["model", 1], comparison=["compare", 0])
    for cell in range(len(METHODS) + 1):
        graph[f"told{cell}"] = node("TellCalls", model=[f"watched{cell}", 0], after=["after", 0])
    run = native.run(graph)
    for index, cell in enumerate(facts(run)["cells"]):
        rows, calls = map(int, run.texts[f"told{index}"][3:])
        steps = STEPS + (index == 0)  # the first cell has been warmed up for a step
        assert (cell["branches_per_step"] * steps, cell["forwards_per_step"] * steps) == (rows, calls)
    assert facts(run)["forwards_per_step"] == sum(each["forwards_per_step"] for each in facts(run)["cells"])


def test_a_compiled_model_is_counted_and_sampled_as_it_is(native):
    graph = compared("ltx2", 2) | {"compiled": node("Compiled", model=["model", 0])}
    graph["guider0"]["inputs"]["model"] = ["compiled", 0]
    graph["guider1"] = node("BasicGuider", model=["compiled", 0], conditioning=["yes", 0])
    run = native.run(with_cell(graph, 1))
    found = [(each["label"], each["branches_per_step"], each["forwards_per_step"]) for each in facts(run)["cells"]]
    assert found == [("none", 1, 1), ("Basic", 1, 1)]
    assert max(float(each) for each in run.texts["same1"][:2]) == 0


@pytest.mark.parametrize("guider, label", [
    (node("DuetJointGuider", model=["watched0", 0], positive=["yes", 0], guidance=["auto", 0]), "autoguidance"),
    (node("BasicGuider", model=["guided", 0], conditioning=["yes", 0]), "autoguidance"),
    (
        node("DualModelGuider", model=["watched0", 0], model_negative=["watched1", 0], **PROMPTS, cfg=2), "DualModel cfg 2",
    ),
])  # fmt: skip
def test_calls_of_a_second_model_count(native, guider, label):
    graph = compared("ltx2", 2) | {"bad": node("TinyModel", kind="ltx2", seed=2), "guider1": guider}
    graph["watched1"]["inputs"]["model"] = ["bad", 0]
    scales = {"guidance.video_scale": 2.0, "guidance.audio_scale": 2.0, "guidance.bad_model": ["watched1", 0]}
    graph["auto"] = node("DuetGuidance", guidance="autoguidance", **scales, a_to_v=1.0, v_to_a=1.0)
    graph["guided"] = node("DuetModelGuidance", model=["watched0", 0], guidance=["auto", 0])
    cell = facts(native.run(graph))["cells"][1]
    assert cell["label"] == label
    assert (cell["branches_per_step"], cell["forwards_per_step"]) == (2, 2)


def test_a_page_that_queued_the_run_gets_previews(native):
    graph = compared("ltx2", 2)
    graph["sigmas"]["inputs"]["steps"] = 40
    command = [os.environ.get("COMFYUI_PYTHON", "python3"), str(Path(__file__).with_name("listen.py")), native.url]
    done = subprocess.run([*command, json.dumps({"prompt": graph})], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {(each["node"], each["steps"]) for each in found} == {("compare", 80)} and found[-1]["step"] == 80
    size = found[0]["count"], found[0]["width"], found[0]["height"]
    assert size == (3, 255, 170) and found[0]["fps"] == pytest.approx(25 * 3 / 17)
    assert found[0]["sheet"].startswith("data:image/jpeg;base64,")


def means(run) -> list:
    return [[each[name] for name in ("motion", "lufs")] for each in facts(run)["cells"]]


@pytest.mark.parametrize("noise", [
    lambda i: node("DuetJointNoise", video_seed=7 + i, audio_seed=(2**64 - 1 + i) % 2**64),
    lambda i: node("RandomNoise", noise_seed=5 + i),
])  # fmt: skip
def test_further_clips_raise_every_seed_of_the_noise(native, noise):
    graph = compared("ltx2", 2)
    first, second = (means(native.run(graph | {"noise": noise(i)})) for i in range(2))
    both = native.run(compared("ltx2", 2, seeds=2) | {"noise": noise(0)})
    assert [each["clips"] for each in facts(both)["cells"]] == [2, 2] and first != second
    for mean, one, other in zip(means(both), first, second):
        assert mean == pytest.approx([(a + b) / 2 for a, b in zip(one, other)])
    assert "means of 2 clips each; in brackets: 95 % intervals" in both.texts["compare"]


REUSED = "cells are from the last run, with the seconds measured then: "


@pytest.mark.parametrize("noise, seed", [
    (node("DuetJointNoise", video_seed=77, audio_seed=2), "audio_seed"), (node("RandomNoise", noise_seed=77), "noise_seed"),
])  # fmt: skip
def test_cells_whose_inputs_are_the_same_objects_are_kept(native, noise, seed):
    graph = compared("ltx2") | {"noise": node(noise["class_type"], **noise["inputs"])}
    assert not any(REUSED in line for line in native.run(graph).texts["compare"])
    graph["guidance1"]["inputs"]["guidance.video_scale"] = 4.0
    run = native.run(with_cell(graph, 1))
    assert any(f"4 of 5 {REUSED}none, joint_cfg, modality_cfg, CFGGuider cfg 3" in line for line in run.texts["compare"])
    assert max(float(each) for each in run.texts["same1"][:2]) == 0
    graph["noise"]["inputs"][seed] = 78
    run = native.run(with_cell(graph, 0))
    assert not any(REUSED in line for line in run.texts["compare"])
    assert max(float(each) for each in run.texts["same0"][:2]) == 0


def test_a_mask_keeps_what_it_keeps(native):
    graph = compared("ltx2", 2, latent=["masked", 0])
    graph["mask"] = node("SolidMask", value=0.5, width=96, height=64)
    graph["masked"] = node("SetLatentNoiseMask", samples=["model", 1], mask=["mask", 0])
    run = native.run(with_cell(graph, 1))
    assert run.succeeded, run.error
    assert max(float(each) for each in run.texts["same1"][:2]) == 0
    plain = with_cell(compared("ltx2", 2, latent=["masked", 0]) | {each: graph[each] for each in ("mask", "masked")}, 1)
    plain["out1"]["inputs"]["latent_image"] = ["model", 1]
    assert float(native.run(plain).texts["same1"][0]) > 0


def rates(run) -> float:
    """The frame rate that Show Comparison hands on."""
    assert run.succeeded, run.error
    return float(run.texts["fps"][0])


def with_rate(graph: dict, guider: int, rate: float) -> dict:
    graph[f"rated{guider}"] = node("LTXVConditioning", positive=["yes", 0], negative=["no", 0], frame_rate=rate)
    graph[f"guider{guider}"]["inputs"] |= {"positive": [f"rated{guider}", 0], "negative": [f"rated{guider}", 1]}
    return graph


def shown(graph: dict) -> dict:
    return graph | {
        "show": node("DuetShowComparison", comparison=["compare", 0], sound="one cell", **{"sound.cell": 1}),
        "fps": node("PreviewAny", source=["show", 2]),
    }


def test_the_frame_rate_is_the_models_own(native):
    assert rates(native.run(shown(compared("h3", 2)))) == 24
    run = native.run(shown(compared("ltx2", 2)))
    assert rates(run) == 25 and "25 frames per second, the model's own" in run.texts["compare"]
    graph = with_rate(with_rate(compared("ltx2", 2), 0, 30.0), 1, 30.0)
    assert rates(native.run(shown(graph))) == 30
    graph["rated1"]["inputs"]["frame_rate"] = 24.0
    assert "the guiders have different frame rates, 30, 24; set fps" in refused(native, graph)
    graph["compare"]["inputs"]["fps"] = 12.5
    assert rates(native.run(shown(graph))) == 12.5


def refused(server, graph: dict) -> str:
    run = server.run(graph)
    assert not run.succeeded and "\n" not in run.error
    return run.error


@pytest.mark.parametrize("changes, message", [
    ({"vae": ["audio_vae", 0]}, "vae reads latents of 8 channels, and the latent's video has 128; connect the video VAE"),
    ({"audio_vae": ["vae", 0]}, "audio_vae reads latents of 128 channels, and the latent's audio has 8; connect the audio VAE"),
    ({"latent": ["one", 0]}, "latent does not hold both video and audio; connect LTXVConcatAVLatent"),
    ({"latent": ["two", 0]}, "latent holds 2 clips; use a batch of 1"),
    ({"latent": ["h3", 1]}, "the latent's video is 24×2×4×4, and LTX-2 needs 128×any×any×any; make the latent for this model"),
    ({"sigmas": ["none", 0]}, "sigmas has no steps; connect a scheduler"),
    ({"noise": ["other", 0], "seeds": 2}, "seeds is 2, and the noise is a OwnNoise, whose seed cannot be raised; use 1"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line_before_anything_runs(native, changes, message):
    graph = compared("ltx2", 2, **changes) | {
        "one": node("OneStream", latent=["model", 1]), "h3": node("TinyModel", kind="h3", seed=1),
        "two": node("ShapedLatent", sizes=json.dumps([[2, 128, 3, 2, 3], [2, 8, 17, 16]])),
        "none": node("SplitSigmas", sigmas=["sigmas", 0], step=0), "other": node("OtherNoise"),
    }  # fmt: skip
    assert message in refused(native, graph)


def test_a_guider_of_another_model_is_refused(native):
    graph = compared("ltx2", 2) | {"silent": node("TinyModel", kind="silent", seed=1)}
    graph["guider1"] = node("CFGGuider", model=["silent", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0)
    assert "the model of guider1 is a LTXV, which is not a joint audio-video model" in refused(native, graph)


def test_cancelling_ends_within_a_step_and_keeps_what_is_done(native):
    graph = compared("ltx2", 2)
    graph["sigmas"]["inputs"]["steps"] = 4000
    cancelled = native.submit(graph)
    native.wait_until_running(cancelled)
    time.sleep(1)
    asked = time.time()
    native.post("/interrupt", {"prompt_id": cancelled})
    run = native.finish(cancelled)
    assert run.messages["execution_interrupted"]["node_type"] == "DuetCompareGuiders" and run.ended - asked < 1
    assert native.run(compared("ltx2", 2)).succeeded
