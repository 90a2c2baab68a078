"""Best Take (Guider) on small models and VAEs of ComfyUI's own classes, with random weights."""

import json
import time

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_compare_guiders import DECODED, KINDS, SHARED, compared, refused
from duet_av.tests.comfyui.test_joined_templates import SmallPair
from duet_av.tests.comfyui.test_native_templates import KEPT, packets


def taking(kind: str = "ltx2", guider: str = "guider1", **inputs) -> dict:
    """A graph that makes takes with our cfg."""
    graph = compared(kind)
    del graph["compare"]
    choices = {"guider": [guider, 0], "takes": 3, "vary": "audio seed"}
    return graph | {"best": node("DuetBestTakeGuider", **choices | SHARED | DECODED | inputs)}


def takes(run) -> list[dict]:
    assert run.succeeded, run.error
    return run.outputs["best"]["duet"][0]["takes"]


@KINDS
@pytest.mark.parametrize("vary", ["audio seed", "both seeds"])
def test_the_best_take_is_that_of_sampler_custom_advanced(native, kind, vary):
    graph = taking(kind, vary=vary)
    best, *others = takes(native.run(graph))
    both = vary == "both seeds"
    assert best["audio_seed"] == best["take"] + 1 and best["video_seed"] == (best["take"] if both else 1)
    assert [best["score"] >= other["score"] for other in others] == [True, True]
    seeds = {name: best[name] for name in ("video_seed", "audio_seed")}
    out = {"guider": ["guider1", 0], "latent_image": ["model", 1], **SHARED, "noise": ["own", 0]}
    graph |= {
        "own": node("DuetJointNoise", **seeds), "out": node("SamplerCustomAdvanced", **out),
        "same": node("HowFarApart", a=["best", 0], b=["out", 0]),
        "images": node("VAEDecode", samples=["out", 0], vae=["vae", 0]),
        "audio": node("VAEDecodeAudio", samples=["out", 0], vae=["audio_vae", 0]),
        "report": node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=["best", 3]),
        "handed": node("DuetSyncReport", images=["best", 1], audio=["best", 2], fps=["best", 3]),
    }  # fmt: skip
    run = native.run(graph)
    assert run.succeeded, run.error
    assert [float(each) for each in run.texts["same"][:2]] == [0, 0]
    report, handed = (run.outputs[key]["duet"][0]["clips"] for key in ("report", "handed"))
    assert report == handed == [best["measured"]]


def test_more_takes_and_other_weights_sample_only_what_is_new(native):
    graph = taking(noise=["other", 0]) | {"other": node("DuetJointNoise", video_seed=50, audio_seed=60)}
    takes(native.run(graph))
    graph["best"]["inputs"] |= {"takes": 5, "sync_weight": 0.5}
    run = native.run(graph)
    assert len(takes(run)) == 5 and "3 of 5 takes are from the last run" in run.texts["best"]
    graph["best"]["inputs"]["vary"] = "both seeds"
    assert not any("last run" in line for line in native.run(graph).texts["best"])


def test_a_binder_and_prompts_score_the_takes(native):
    run = native.run(taking(binder="Bounce-Bind", audio_prompt="a metal ball", takes=2))
    assert all(each["agreement"] is not None for each in takes(run))
    assert all(each["measured"]["agreement"]["audio_prompt"] is not None for each in takes(run))
    run = native.run(taking(video_prompt="a ball", takes=2))
    assert "prompts are not used: no binder is chosen" in run.outputs["best"]["duet"][0]["warnings"]
    run = native.run(taking(binder="Bounce-Bind Times", video_prompt="a ball", takes=1))
    assert takes(run)[0]["measured"]["agreement"]["video_prompt"] is None
    assert "prompts are not used: Bounce-Bind Times cannot embed text" in run.outputs["best"]["duet"][0]["warnings"]


def test_takes_under_a_kept_video_have_that_video(native):
    graph = taking(latent=["masked", 0])
    graph["mask"] = node("SolidMask", value=0.0, width=96, height=64)
    graph["masked"] = node("SetLatentNoiseMask", samples=["filled", 0], mask=["mask", 0])
    graph["filled"] = node("SamplerCustomAdvanced", guider=["guider0", 0], latent_image=["model", 1], **SHARED)
    graph["apart"] = node("HowFarApart", a=["best", 0], b=["filled", 0])
    run = native.run(graph)
    motions = {each["measured"]["motion"] for each in takes(run)}
    video, audio, spread, _ = (float(each) for each in run.texts["apart"])
    assert video < KEPT * spread * 10 and audio > 0.1 and len(motions) == 1 and len(takes(run)) == 3


def test_any_seed_is_raised_for_whole_takes(native):
    graph = taking(vary="both seeds", noise=["plain", 0]) | {"plain": node("RandomNoise", noise_seed=2**64 - 1)}
    assert sorted(each["audio_seed"] for each in takes(native.run(graph))) == [0, 1, 2**64 - 1]


def test_cancelling_ends_within_a_step(native):
    graph = taking()
    graph["sigmas"]["inputs"]["steps"] = 4000
    cancelled = native.submit(graph)
    native.wait_until_running(cancelled)
    time.sleep(1)
    asked = time.time()
    native.post("/interrupt", {"prompt_id": cancelled})
    run = native.finish(cancelled)
    assert run.messages["execution_interrupted"]["node_type"] == "DuetBestTakeGuider" and run.ended - asked < 1


@pytest.mark.parametrize("changes, message", [
    ({"noise": ["plain", 0]}, "vary is 'audio seed', and the noise has no seed of its own for the audio; connect Joint Noise"),
    ({"noise": ["own", 0], "vary": "both seeds"}, "takes is 3, and the noise is a OwnNoise, whose seed cannot be raised; use 1"),
    ({"latent": ["two", 0]}, "latent holds 2 clips; use a batch of 1"),
    ({"vae": ["audio_vae", 0]}, "vae reads latents of 8 channels, and the latent's video has 128; connect the video VAE"),
    ({"guider": "silent"}, "the model of guider is a LTXV, which is not a joint audio-video model"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(native, changes, message):
    graph = taking(**changes) | {
        "plain": node("RandomNoise", noise_seed=1), "own": node("OtherNoise"),
        "two": node("ShapedLatent", sizes=json.dumps([[2, 128, 3, 2, 3], [2, 8, 17, 16]])),
        "mute": node("TinyModel", kind="silent", seed=1),
        "silent": node("CFGGuider", model=["mute", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0),
    }  # fmt: skip
    assert message in refused(native, graph)


def test_the_best_of_some_sounds_of_joined_models_for_a_silent_video(native):
    small = SmallPair("stable_audio_v2a", native.base / "input")
    key, mux, video_vae = small.key("Sampler"), small["Mux"], small["Encode"]["vae"]
    sampler = small.graph.pop(key)["inputs"]
    audio_vae = small.graph.pop(small.key("Decode audio"))["inputs"]["vae"]
    model = sampler["model"]
    small.graph |= {
        "guider": node("CFGGuider", model=model, positive=sampler["positive"], negative=sampler["negative"], cfg=3.0),
        "noise": node("DuetJointNoise", video_seed=1, audio_seed=5), "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=model, scheduler="simple", steps=3, denoise=1.0),
        "best": node(
            "DuetBestTakeGuider", guider=["guider", 0], latent=sampler["latent_image"], vae=video_vae, audio_vae=audio_vae, takes=3,
            vary="audio seed", **SHARED,
        ),
        "apart": node("HowFarApart", a=["best", 0], b=sampler["latent_image"]),
    }  # fmt: skip
    mux["audio"] = ["best", 2]
    run = native.run(small.graph)
    assert {each["audio_seed"] for each in takes(run)} == {5, 6, 7} and len({each["lufs"] for each in takes(run)}) == 3
    assert len({each["measured"]["motion"] for each in takes(run)}) == 1 and float(run.texts["apart"][0]) == 0
    (file,) = run.files
    assert packets(file) == packets(native.base / "input" / "brown.mp4")
