"""Our nodes on joined models in ComfyUI: guiders compared, and a guided MODEL in KSampler."""

import pytest

from duet_av.tests.comfyui.graphs import node, saved

STEPS, PAIR = 2, ("wan21", "ace_step_15")
METHODS = {"cfg": {"scale": 3.0}, "joint_cfg": {"scale": 3.0}, "none": {}}
PROMPTS = {"positive": ["yes", 0], "negative": ["no", 0]}
SHARED = {"noise": ["noise", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]}
NO_COUPLING = "this model has no coupling, so joint_cfg equals cfg"


def joined() -> dict:
    """A graph up to the guiders: ours, and ComfyUI's own."""
    graph = {half: node("TinyHalf", kind=half, seed=1) for half in PAIR}
    graph["model"] = node("DuetJoinModels", video=[PAIR[0], 0], audio=[PAIR[1], 0])
    for seed, name in enumerate(("yes", "no")):
        graph |= {f"{name} {half}": node("TinyHalfPrompt", kind=half, seed=seed) for half in PAIR}
        video, audio = ([f"{name} {half}", 0] for half in PAIR)
        graph[name] = node("DuetJoinConditioning", model=["model", 0], video=video, audio=audio)
    for name, scales in METHODS.items():
        own = {f"guidance.{stream}_{key}": value for key, value in scales.items() for stream in ("video", "audio")}
        graph[f"guidance {name}"] = node("DuetGuidance", guidance=name, **own, a_to_v=1.0, v_to_a=1.0)
        graph[name] = node("DuetJointGuider", model=["model", 0], guidance=[f"guidance {name}", 0], **PROMPTS)
    size = {"width": 64, "height": 64, "seconds": 0.5, "fps": 0.0, "batch_size": 1, "keep": "nothing"}
    return graph | {
        "core": node("CFGGuider", model=["model", 0], **PROMPTS, cfg=3.0),
        "latent": node("DuetEmptyJointLatent", model=["model", 0], **size),
        "noise": node("DuetJointNoise", video_seed=1, audio_seed=2), "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=STEPS, denoise=1.0),
        "vae": node("TinyVAE", kind=PAIR[0], seed=1), "audio_vae": node("TinyAudioVAE", kind=PAIR[1], seed=1),
    }  # fmt: skip


@pytest.fixture(scope="module")
def compared(native):
    """Four guiders compared, and what ComfyUI's own nodes make of the first one."""
    cells = {f"guiders.guider{i}": [name, 0] for i, name in enumerate((*METHODS, "core"))}
    decoders = {"latent": ["latent", 0], "vae": ["vae", 0], "audio_vae": ["audio_vae", 0]}
    graph = joined() | {"compare": node("DuetCompareGuiders", **SHARED, **decoders, **cells)}
    graph |= {
        "out": node("SamplerCustomAdvanced", **SHARED, guider=["cfg", 0], latent_image=["latent", 0]),
        "images": node("VAEDecode", samples=["out", 0], vae=["vae", 0]),
        "audio": node("VAEDecodeAudio", samples=["out", 0], vae=["audio_vae", 0]),
        "same": node("SameAsCell", comparison=["compare", 0], cell=0, images=["images", 0], audio=["audio", 0]),
        "report": node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=16.0),
        "file": saved(["images", 0], fps=16.0, audio=["audio", 0]),
    }  # fmt: skip
    run = native.run(graph)
    assert run.succeeded, run.error
    return run


def test_a_cell_is_the_clip_of_comfyuis_own_nodes(compared):
    video, audio, spread = map(float, compared.texts["same"])
    assert video == audio == 0 and spread > 0.01


def test_the_table_has_the_cost_of_both_networks(compared):
    cells = compared.outputs["compare"]["duet"][0]["cells"]
    assert [each["label"] for each in cells] == [*METHODS, "CFGGuider cfg 3"]
    assert [(each["branches_per_step"], each["forwards_per_step"]) for each in cells] == [(2, 2), (2, 2), (1, 2), (2, 2)]
    text = compared.outputs["compare"]["text"]
    assert NO_COUPLING in text and "network calls: of both models" in text
    assert "16 frames per second, the model's own" in text


def test_the_guider_says_which_method_is_cfg(compared):
    assert NO_COUPLING in compared.texts["joint_cfg"] and NO_COUPLING not in compared.texts["cfg"]


def test_the_report_and_the_file_take_the_decoded_clip(compared):
    clip = compared.outputs["report"]["duet"][0]["clips"][0]
    assert (clip["frames"], clip["fps"], clip["sound"]["sample_rate"]) == (9, 16, 48000)
    assert [file.suffix for file in compared.files if file.parent.name == "output"] == [".mp4"]


def test_ksampler_with_a_guided_model_gives_what_the_guider_gives(native):
    graph = joined() | {"guided": node("DuetModelGuidance", model=["model", 0], guidance=["guidance cfg", 0])}
    settings = {"seed": 3, "steps": STEPS, "cfg": 9.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    graph["k"] = node("KSampler", model=["guided", 0], **PROMPTS, latent_image=["latent", 0], **settings)
    graph["noise"] = node("RandomNoise", noise_seed=3)
    graph["out"] = node("SamplerCustomAdvanced", **SHARED, guider=["cfg", 0], latent_image=["latent", 0])
    graph["told"] = node("HowFarApart", a=["k", 0], b=["out", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    video, audio, *spread = map(float, run.texts["told"])
    assert video == audio == 0 and min(spread) > 0.1
