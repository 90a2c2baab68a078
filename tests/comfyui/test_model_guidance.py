"""Guidance added to a MODEL: KSampler, SamplerCustom and other guiders then give what Joint Guider gives."""

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import KINDS, SETTINGS, STEPS, guidance, sampled, told

STRATEGIES = [(kind, name) for kind in ("ltx", "h3") for name in SETTINGS if (kind, name) != ("h3", "joint_cfg_star")]


def ksampled(kind: str, name: str, cfg: float = 4.0) -> dict:
    """Compares KSampler on a guided MODEL with our guider; both have core's noise."""
    graph = sampled(kind, {"guidance": guidance(name)}, {"guidance": guidance(name)})
    graph["guided"] = node("DuetModelGuidance", model=["model", 0], guidance=["guidance0", 0])
    graph["noise1"] = node("RandomNoise", noise_seed=3)
    prompts = {"positive": ["yes", 0], "negative": ["no", 0]}
    settings = {"seed": 3, "steps": STEPS, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    graph["out0"] = node("KSampler", model=["guided", 0], latent_image=["model", 1], **prompts, **settings)
    return graph


@pytest.mark.parametrize("kind, name", STRATEGIES)
def test_ksampler_gives_what_the_guider_gives(native, kind, name):
    video, audio, *spread = told(native, ksampled(kind, name))
    assert video == audio == 0 and min(spread) > 0.1


def test_the_samplers_own_cfg_has_no_effect(native):
    assert max(told(native, ksampled("ltx", "joint_cfg", cfg=1.0))[:2]) == 0


@KINDS
def test_a_guider_of_the_hosts_on_a_guided_model_gives_the_same(native, kind):
    graph = sampled(kind, {"guidance": guidance("joint_cfg")}, {"guidance": guidance("joint_cfg")})
    graph["guided"] = node("DuetModelGuidance", model=["model", 0], guidance=["guidance0", 0])
    graph["guider1"] = node("CFGGuider", model=["guided", 0], positive=["yes", 0], negative=["no", 0], cfg=7.0)
    video, audio, *spread = told(native, graph)
    assert video == audio == 0 and min(spread) > 0.1


def test_the_guidance_that_was_added_last_counts(native):
    graph = sampled("ltx", {"guidance": guidance("cfg")}, {"guidance": guidance("cfg")})
    graph |= {"other": guidance("joint_cfg"), "guided": node("DuetModelGuidance", model=["model", 0], guidance=["other", 0])}
    graph["guider0"]["inputs"]["model"] = ["guided", 0]
    video, audio, *_ = told(native, graph)
    assert video == audio == 0


def test_the_model_itself_stays_as_it_was(native):
    graph = ksampled("ltx", "joint_cfg")
    plain = graph["out0"]["inputs"] | {"model": ["model", 0], "cfg": 3.0}
    theirs = node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0)
    graph["guided_run"] = graph["out0"]
    graph |= {"out0": node("KSampler", **plain), "guider1": theirs}
    video, audio, *_ = told(native, graph)
    assert video == audio == 0


def test_a_model_of_video_alone_is_refused(native):
    graph = ksampled("ltx", "cfg")
    graph["video"] = node("TinyModel", kind="silent", seed=1)
    graph["guided"]["inputs"]["model"] = ["video", 0]
    run = native.run(graph)
    assert not run.succeeded and "model is a LTXV, which is not a joint audio-video model" in run.error


@KINDS
def test_the_node_says_what_a_step_costs(native, kind):
    run = native.run(ksampled(kind, "joint_cfg"))
    calls = {"ltx": "1 network call", "h3": "2 network calls"}[kind]
    assert run.succeeded and run.texts["guided"][0] == f"joint_cfg: 2 branches per step in {calls}"
    assert "the sampler's cfg has no effect" in run.texts["guided"]


def test_what_another_pack_has_set_on_a_guider_is_there_after_a_run(native):
    graph = sampled("ltx", {"guidance": guidance("cfg")})
    del graph["out0"], graph["told"]
    inputs = {"guider": ["guider0", 0], "latent": ["model", 1], "noise": ["noise0", 0], "sigmas": ["sigmas", 0]}
    run = native.run(graph | {"own": node("OwnPrediction", **inputs)})
    assert run.succeeded and run.texts["own"] == ["True"], run.error
