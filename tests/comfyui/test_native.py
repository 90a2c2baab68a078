"""Our guidance on ComfyUI's own joint models: small ones of its classes, with random weights, sampled by its own nodes."""

import json

import pytest

from duet_av.tests.comfyui.graphs import node, prompt, short
from duet_av.tests.conftest import WORKFLOW

STEPS = 4
KINDS = pytest.mark.parametrize("kind", ["ltx", "h3"])
SETTINGS = {  # of every strategy
    "none": {}, "joint_cfg": {"scale": 2.5}, "joint_cfg_star": {"scale": 2.5}, "cfg": {"scale": 3.0},
    "dual_cfg": {"scale": 2.5, "cross_scale": 1.5}, "modality_cfg": {"scale": 3.0, "cross_scale": 3.0, "skip_scale": 2.0},
    "autoguidance": {"scale": 2.0}, "cfg_zero_star": {"scale": 2.5}, "apg": {"scale": 2.5},
    "stg": {"scale": 1.0, "skip_scale": 2.0},
}  # fmt: skip
OTHERS = {
    "modality_cfg": {"skip_block": 1}, "stg": {"skip_block": 1}, "cfg_zero_star": {"zero_steps": 1},
    "apg": {"eta": 0.0, "momentum": -0.5, "norm_threshold": 0.0}, "autoguidance": {"bad_model": ["bad", 0]},
}  # fmt: skip


def guidance(name: str, coupling: float = 1.0) -> dict:
    scales = {f"guidance.{modality}_{kind}": v for kind, v in SETTINGS[name].items() for modality in ("video", "audio")}
    others = {f"guidance.{key}": value for key, value in OTHERS.get(name, {}).items()}
    return node("DuetGuidance", guidance=name, **scales, **others, a_to_v=coupling, v_to_a=coupling)


def sampled(kind: str, *runs: dict, words: int = 4) -> dict:
    """A graph that samples with each of `runs` (a guidance, or a whole guider; seeds) and compares the first with the last."""
    graph = {
        "model": node("TinyModel", kind=kind, seed=1), "bad": node("TinyModel", kind=kind, seed=2),
        "yes": node("TinyPrompt", kind=kind, seed=11, words=6), "no": node("TinyPrompt", kind=kind, seed=12, words=words),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=STEPS, denoise=1.0),
    }  # fmt: skip
    for index, run in enumerate(runs):
        settings = {"model": ["model", 0], "positive": ["yes", 0], "negative": ["no", 0]}
        graph[f"guidance{index}"] = run.get("guidance", guidance("none"))
        graph[f"guider{index}"] = run.get("guider") or node("DuetJointGuider", **settings, guidance=[f"guidance{index}", 0])
        graph[f"noise{index}"] = node("DuetJointNoise", video_seed=run.get("video_seed", 1), audio_seed=run.get("audio_seed", 2))
        graph[f"out{index}"] = node(
            "SamplerCustomAdvanced", noise=[f"noise{index}", 0], guider=[f"guider{index}", 0],
            sampler=[run.get("sampler", "sampler"), 0], sigmas=["sigmas", 0], latent_image=run.get("latent", ["model", 1]),
        )  # fmt: skip
    graph["told"] = node("HowFarApart", a=["out0", 0], b=[f"out{len(runs) - 1}", 0])
    return graph


def told(server, graph: dict) -> list[float]:
    """How far pictures and sounds are apart, and how large the first ones are."""
    run = server.run(graph)
    assert run.succeeded, run.error
    return [float(number) for number in run.texts["told"]]


@KINDS
def test_cfg_is_that_of_the_host(native, kind):
    theirs = node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0)
    words = 6 if kind == "ltx" else 4  # H3 takes prompts of different lengths; core runs LTX's together, as it does ours
    video, audio, *spread = told(native, sampled(kind, {"guidance": guidance("cfg")}, {"guider": theirs}, words=words))
    assert max(video, audio) < 1e-5 and min(spread) > 0.1


def test_scales_left_to_the_model_are_the_methods_own(native):
    plain, left = guidance("joint_cfg"), guidance("joint_cfg")
    left["inputs"] |= {"guidance.video_scale": -1.0, "guidance.audio_scale": -1.0}
    video, audio, *spread = told(native, sampled("ltx", {"guidance": left}, {"guidance": plain}))
    assert video == audio == 0 and min(spread) > 0.1


@KINDS
def test_a_sampler_that_looks_at_the_negative_gets_the_hosts(native, kind):
    """CFG++: it asks for the negative at scale 1 too."""
    once = guidance("cfg")
    once["inputs"] |= {"guidance.video_scale": 1.0, "guidance.audio_scale": 1.0}
    theirs = node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=1.0)
    words = 6 if kind == "ltx" else 4
    graph = sampled(kind, {"guidance": once, "sampler": "pp"}, {"guider": theirs, "sampler": "pp"}, words=words)
    video, audio, *spread = told(native, graph | {"pp": node("KSamplerSelect", sampler_name="euler_cfg_pp")})
    assert max(video, audio) < 1e-5 and min(spread) > 0.1


@KINDS
def test_a_skipped_step_is_skipped_under_such_a_sampler(native, kind):
    graph = sampled(kind, {"guidance": guidance("cfg_zero_star"), "sampler": "pp"}, {"guidance": guidance("cfg"), "sampler": "pp"})
    video, *_ = told(native, graph | {"pp": node("KSamplerSelect", sampler_name="euler_cfg_pp")})
    assert video > 1e-3


@KINDS
def test_a_guider_gives_the_same_twice(native, kind):
    graph = sampled(kind, {"guidance": guidance("apg")})
    graph["again"] = graph["sigmas"] | {"inputs": graph["sigmas"]["inputs"] | {"denoise": 0.999999}}  # no cached result
    graph["out1"] = graph["out0"] | {"inputs": graph["out0"]["inputs"] | {"sigmas": ["again", 0]}}
    graph["told"]["inputs"]["b"] = ["out1", 0]
    video, audio, *_ = told(native, graph)
    assert max(video, audio) < 1e-4


@pytest.mark.parametrize("shifts", [None, (6.0, 3.0), (12.0, 1.0)])
def test_a_strategy_is_given_the_velocity_of_the_audios_own_schedule(native, shifts):
    """MiniMax-H3 has its sound on a schedule of its own, which a node can change."""
    graph = sampled("h3", {"guidance": guidance("cfg_zero_star")})
    graph["guidance0"]["inputs"]["guidance.zero_steps"] = 0
    if shifts:
        graph["shifted"] = node("MiniMaxH3SigmaShift", model=["model", 0], shift_video=shifts[0], shift_audio=shifts[1])
        graph["guider0"]["inputs"]["model"] = ["shifted", 0]
    inputs = {"guider": ["guider0", 0], "latent": ["model", 1], "noise": ["noise0", 0], "sigmas": ["sigmas", 0]}
    del graph["out0"], graph["told"]
    run = native.run(graph | {"speed": node("SoundSpeed", **inputs)})
    assert run.succeeded, run.error
    assert float(run.texts["speed"][0]) < 1e-4


@KINDS
def test_a_bad_model_of_the_same_loader_has_its_own_weights(native, kind):
    """The model with a LoRA, guided away from itself without: as two files loaded apart."""
    graph = sampled(kind, {"guidance": guidance("autoguidance")}, {"guidance": guidance("autoguidance")})
    graph["bad"]["inputs"] |= {"seed": 1, "copy": 1}  # loaded apart
    graph |= {"lora": node("Patched", model=["model", 0]), "none": guidance("none")}
    graph["guidance1"]["inputs"]["guidance.bad_model"] = ["model", 0]
    for index in range(2):
        graph[f"guider{index}"]["inputs"]["model"] = ["lora", 0]
    video, audio, *_ = told(native, graph)
    assert max(video, audio) < 1e-5
    graph["guider1"]["inputs"]["guidance"] = ["none", 0]
    video, audio, *_ = told(native, graph)
    assert min(video, audio) > 1e-3


@KINDS
@pytest.mark.parametrize("name", SETTINGS)
def test_every_strategy_samples(native, kind, name):
    graph = sampled(kind, {"guidance": guidance(name)}, {"guidance": guidance("none")})
    if (kind, name) == ("h3", "joint_cfg_star"):
        assert "joint_cfg_star needs coupling removed, which this model does not support" in native.run(graph).error
        return
    video, audio, *spread = told(native, graph)
    assert all(0.1 < each < 10 for each in spread)
    assert (min(video, audio) > 1e-4) == (name != "none")


@KINDS
def test_cut_streams_do_not_affect_each_other(native, kind):
    cut, coupled = guidance("none", coupling=0.0), guidance("none")
    video, audio, *_ = told(native, sampled(kind, {"guidance": cut}, {"guidance": cut, "audio_seed": 5}))
    assert video == 0 and audio > 0.1
    video, audio, *_ = told(native, sampled(kind, {"guidance": cut}, {"guidance": cut, "video_seed": 5}))
    assert audio == 0 and video > 0.1
    video, audio, *_ = told(native, sampled(kind, {"guidance": coupled}, {"guidance": coupled, "audio_seed": 5}))
    assert video > 1e-4


@KINDS
def test_half_a_coupling_lies_between(native, kind):
    half, full, cut = (guidance("none", coupling=each) for each in (0.5, 1.0, 0.0))
    to_full, to_cut, whole = (
        told(native, sampled(kind, {"guidance": a}, {"guidance": b}))[0] for a, b in ((half, full), (half, cut), (full, cut))
    )
    assert 0 < to_full < whole and 0 < to_cut < whole


@KINDS
def test_a_sampler_of_second_order_runs(native, kind):
    graph = sampled(kind, {"guidance": guidance("joint_cfg"), "sampler": "heun"}, {"guidance": guidance("joint_cfg")})
    graph["heun"] = node("KSamplerSelect", sampler_name="heun")
    video, audio, *spread = told(native, graph)
    assert video > 1e-4 and all(0.1 < each < 10 for each in spread)


def test_each_kind_of_row_has_its_own_uuids_in_every_step(native):
    """What caches a model's answers, as core's EasyCache does, goes by what ComfyUI calls a prompt: cut, it is another."""
    graph = sampled("ltx", {"guidance": guidance("modality_cfg")})
    graph["watched"] = node("Watched", model=["model", 0])
    graph["guider0"]["inputs"]["model"] = ["watched", 0]
    graph["calls"] = node("TellCalls", model=["watched", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    coupled, cut, shared, *_ = map(int, run.texts["calls"])
    assert (coupled, cut, shared) == (3, 1, 0)  # the prompt, the negative, and the prompt without a block


@KINDS
@pytest.mark.parametrize("name", ["none", *(name for name in SETTINGS if name not in ("none", "joint_cfg_star"))])
def test_a_compiled_model_gives_the_same(native, kind, name):
    """Cut, half cut (`none`) and without a block: no pass is answered by the graph of another."""
    used = guidance(name, coupling=0.5 if name == "none" else 1.0)
    graph = sampled(kind, {"guidance": used}, {"guidance": used})
    graph["compiled"] = node("Compiled", model=["model", 0], fresh=name in ("none", "stg"))
    graph["guider0"]["inputs"]["model"] = ["compiled", 0]
    video, audio, *spread = told(native, graph)
    assert max(video, audio) < 1e-4 and min(spread) > 0.1


def test_a_compiled_model_takes_blocks_that_another_node_skips(native):
    graph = sampled("ltx", {"guidance": guidance("joint_cfg")}, words=6)
    graph |= {"skips": node("SkipsABlock", model=["model", 0]), "compiled": node("Compiled", model=["skips", 0])}
    graph["guider0"]["inputs"]["model"] = ["compiled", 0]
    assert min(told(native, graph)[2:]) > 0.1


@KINDS
def test_a_compiled_model_follows_the_size_of_the_clip(native, kind):
    """The same compiled model for two clips: their sizes decide which tokens attend to which."""
    used, longer = guidance("joint_cfg"), {"ltx": ((1, 8, 4, 2, 2), (1, 8, 7, 16)), "h3": ((1, 24, 3, 4, 4), (1, 32, 2, 7))}[kind]
    graph = sampled(kind, *[{"guidance": used, "latent": each} for each in (["longer", 0], ["model", 1]) for _ in range(2)])
    graph |= {"longer": node("ShapedLatent", sizes=json.dumps(longer)), "compiled": node("Compiled", model=["model", 0])}
    for index in (0, 2):
        graph[f"guider{index}"]["inputs"]["model"] = ["compiled", 0]
    graph |= {f"told{i}": node("HowFarApart", a=[f"out{i}", 0], b=[f"out{i + 1}", 0]) for i in (0, 2)}
    del graph["told"]
    run = native.run(graph)
    assert run.succeeded, run.error
    for name in ("told0", "told2"):
        video, audio, *spread = map(float, run.texts[name])
        assert max(video, audio) < 1e-5 and min(spread) > 0.1


@KINDS
@pytest.mark.parametrize("a_to_v, v_to_a", [(0.0, 0.0), (0.5, 0.5), (0.0, 1.0), (1.0, 1.0)])
def test_a_post_cfg_function_predicts_as_the_pass_that_it_changes(native, kind, a_to_v, v_to_a):
    used = node("DuetGuidance", guidance="none", a_to_v=a_to_v, v_to_a=v_to_a)
    graph = sampled(kind, {"guidance": used}, {"guidance": used}) | {"again": node("PredictsAgain", model=["model", 0])}
    graph["guider0"]["inputs"]["model"] = ["again", 0]
    video, audio, *spread = told(native, graph)
    assert max(video, audio) < 1e-5 and min(spread) > 0.1


def test_a_cut_run_stays_cut_under_the_hosts_skip_guidance(native):
    cut = {"guidance": guidance("none", coupling=0.0)}
    graph = sampled("ltx", cut, cut | {"audio_seed": 5})
    graph["skipping"] = node(
        "LTXVSpatioTemporalGuidance", model=["model", 0], scale=1.0, blocks="1", start_percent=0.0, end_percent=1.0
    )
    for index in range(2):
        graph[f"guider{index}"]["inputs"]["model"] = ["skipping", 0]
    video, audio, *_ = told(native, graph)
    assert video == 0 and audio > 0.1


@KINDS
def test_a_cut_run_stays_cut_under_a_sampler_that_looks_at_the_negative(native, kind):
    cut = {"guidance": guidance("none", coupling=0.0), "sampler": "pp"}
    graph = sampled(kind, cut, cut | {"audio_seed": 5}) | {"pp": node("KSamplerSelect", sampler_name="euler_cfg_pp")}
    video, audio, *_ = told(native, graph)
    assert video == 0 and audio > 0.1


@pytest.mark.parametrize("name, rows", [
    ("cfg", 2), ("joint_cfg", 2), ("dual_cfg", 3), ("modality_cfg", 4), ("autoguidance", 2), ("apg", 2),
])  # fmt: skip
def test_a_sampler_that_looks_at_the_negative_costs_no_more_rows(native, name, rows):
    graph = sampled("ltx", {"guidance": guidance(name), "sampler": "pp"})
    graph |= {"pp": node("KSamplerSelect", sampler_name="euler_cfg_pp"), "watched": node("Watched", model=["model", 0])}
    graph |= {"bad": node("Watched", model=["bad_model", 0]), "bad_model": graph["bad"]}
    graph["guider0"]["inputs"]["model"] = ["watched", 0]
    graph["calls"] = node("TellCalls", model=["watched", 0], bad_model=["bad", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    assert int(run.texts["calls"][3]) == rows * STEPS


@KINDS
def test_a_copied_guider_answers_with_its_own_prompts(native, kind):
    graph = sampled(kind, {"guidance": guidance("none", coupling=0.0)})
    graph["noise0"]["inputs"] |= {"video_seed": 1, "audio_seed": 2}
    given = {"latent": ["model", 1], "noise": ["noise0", 0], "sigmas": ["sigmas", 0]}
    graph["copies"] = node("CopiedGuiders", guider=["guider0", 0], other=["no", 0], **given)
    graph["told"] = node("HowFarApart", a=["copies", 0], b=["copies", 1])
    video, audio, *_ = told(native, graph)
    assert min(video, audio) > 1e-3
    graph["told"] = node("HowFarApart", a=["copies", 0], b=["copies", 2])
    video, audio, *_ = told(native, graph)
    assert video == audio == 0


@KINDS
@pytest.mark.parametrize("words", [4, 6])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_guider_says_what_a_step_costs(native, kind, name, words):
    """As counted at the networks. Prompts of one length share a call of LTX-2."""
    if (kind, name) == ("h3", "joint_cfg_star"):
        return
    graph = sampled(kind, {"guidance": guidance(name)}, words=words)
    graph |= {"watched": node("Watched", model=["model", 0]), "worse": graph["bad"], "bad": node("Watched", model=["worse", 0])}
    graph["guider0"]["inputs"]["model"] = ["watched", 0]
    graph["calls"] = node("TellCalls", model=["watched", 0], bad_model=["bad", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    *_, rows, calls = map(int, run.texts["calls"])
    steps = STEPS - (name == "cfg_zero_star")
    (said,) = run.outputs["guider0"]["duet"]
    assert (said["branches_per_step"] * steps, said["forwards_per_step"] * steps) == (rows, calls)


def test_a_row_that_serves_two_branches_is_said_once(native):
    """Half a coupling is mixed of a coupled and a cut row on MiniMax-H3, and the guidance has a cut row already."""
    graph = sampled("h3", {"guidance": guidance("modality_cfg", coupling=0.5)}) | {"watched": node("Watched", model=["model", 0])}
    graph["guider0"]["inputs"]["model"] = ["watched", 0]
    graph["calls"] = node("TellCalls", model=["watched", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    *_, rows, _ = map(int, run.texts["calls"])
    assert run.outputs["guider0"]["duet"][0]["branches_per_step"] * STEPS == rows


def hosts_skip(model: str) -> dict:
    return node("LTXVSpatioTemporalGuidance", model=[model, 0], scale=1.0, blocks="1", start_percent=0.0, end_percent=1.0)


def test_skip_guidance_is_that_of_the_host(native):
    theirs = node("CFGGuider", model=["skipping", 0], positive=["yes", 0], negative=["no", 0], cfg=1.0)
    graph = sampled("ltx", {"guidance": guidance("stg")}, {"guider": theirs}) | {"skipping": hosts_skip("model")}
    video, audio, *spread = told(native, graph)
    assert max(video, audio) < 1e-5 and min(spread) > 0.1


def test_modality_guidance_is_that_of_the_host(native):
    scales = {"video_cfg": 3.0, "audio_cfg": 3.0}
    theirs = node("LTXVDualCFGGuider", model=["matched", 0], positive=["yes", 0], negative=["no", 0], **scales)
    graph = sampled("ltx", {"guidance": guidance("modality_cfg")}, {"guider": theirs}) | {"skipping": hosts_skip("model")}
    steps = {"start_percent": 0.0, "end_percent": 1.0}
    graph["matched"] = node("LTXVModalityGuidance", model=["skipping", 0], modality_scale=3.0, **steps)
    video, audio, *spread = told(native, graph)
    assert max(video, audio) < 1e-4 and min(spread) > 0.1


def refused(server, graph: dict) -> str:
    run = server.run(graph)
    assert not run.succeeded
    return run.error


def test_a_model_of_video_alone_is_refused(native):
    assert "model is a LTXV, which is not a joint audio-video model" in refused(native, sampled("silent", {}))


def test_the_block_that_is_skipped_is_the_models_own(native):
    graph = sampled("ltx", {"guidance": guidance("stg")})
    graph["guidance0"]["inputs"]["guidance.skip_block"] = -1
    assert "skip_block is 28; use a block of this model, 0 to 2" in refused(native, graph)


def shaped(kind: str, name: str, *sizes: tuple) -> dict:
    """A run with a latent of these sizes, and noise that fits any."""
    graph = sampled(kind, {"guidance": guidance(name), "latent": ["shaped", 0]})
    graph["out0"]["inputs"]["noise"] = ["shaped", 1]
    return graph | {"shaped": node("ShapedLatent", sizes=json.dumps(sizes))}


PICTURE, SOUND = (1, 8, 3, 2, 2), (1, 8, 5, 16)  # of LTX-2


@pytest.mark.parametrize("kind, sizes, message", [
    ("ltx", (PICTURE, (1, 8, 0, 16)), "the latent's audio has length 0; make a longer latent"),
    ("ltx", ((1, 24, 2, 4, 4), (1, 32, 2, 5)), "the latent's video is 24×2×4×4, and LTX-2 needs 8×any×any×any; make the latent"),
    ("h3", ((1, 24, 2, 4, 4), SOUND), "the latent's audio is 8×5×16, and MiniMax-H3 needs 32×2×any; make the latent for"),
    ("h3", ((1, 24, 2, 4, 4),), "the latent does not hold both video and audio; connect LTXVConcatAVLatent"),
])  # fmt: skip
def test_a_latent_of_another_model_is_refused(native, kind, sizes, message):
    assert message in refused(native, shaped(kind, "cfg", *sizes))


def test_video_alone_is_sampled_where_the_guidance_needs_no_audio(native):
    graph = shaped("ltx", "cfg", PICTURE)
    graph["theirs"] = node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0)
    graph["out1"] = graph["out0"] | {"inputs": graph["out0"]["inputs"] | {"guider": ["theirs", 0]}}
    graph["told"]["inputs"]["b"] = ["out1", 0]
    video, spread = told(native, graph)
    assert video < 1e-5 and spread > 0.1
    assert "separates video and audio, and the latent holds only video" in refused(native, shaped("ltx", "joint_cfg", PICTURE))


@pytest.mark.parametrize("kind, other, widths", [("ltx", "h3", "40, and LTX-2 reads 24 or 48 or 64"), ("h3", "silent", "24, and")])
def test_a_prompt_of_another_model_is_refused(native, kind, other, widths):
    graph = sampled(kind, {"guidance": guidance("cfg")})
    graph["no"]["inputs"]["kind"] = other
    assert f"negative has tokens of width {widths}" in refused(native, graph)


@KINDS
def test_a_guidance_that_needs_no_negative_runs_without(native, kind):
    graph = sampled(kind, {"guidance": guidance("none")}, {"guidance": guidance("none")})
    del graph["guider0"]["inputs"]["negative"]
    video, audio, *_ = told(native, graph)
    assert video == audio == 0
    graph["guidance0"] = guidance("cfg")
    assert "negative is not connected, and cfg or the sampler needs it" in refused(native, graph)


def test_patches_without_effect_are_said(native):
    graph = sampled("ltx", {"guidance": guidance("cfg")})
    graph["patched"] = node("RescaleCFG", model=["model", 0], multiplier=0.7)
    graph["guider0"]["inputs"]["model"] = ["patched", 0]
    run = native.run(graph)
    assert run.succeeded and "such as RescaleCFG; it has no effect" in run.texts["guider0"][-1]


def test_a_bad_model_of_another_kind_is_refused(native):
    graph = sampled("ltx", {"guidance": guidance("autoguidance")})
    graph["bad"]["inputs"]["kind"] = "h3"
    assert "bad_model has another architecture than model" in refused(native, graph)


def test_a_bad_model_of_another_width_is_refused(native):
    graph = sampled("ltx", {"guidance": guidance("autoguidance")})
    graph["bad"]["inputs"]["kind"] = "wide"
    assert "bad_model reads prompts of width 72 and model of 64; use a weaker version" in refused(native, graph)


def test_a_bad_model_of_ours_is_refused(native):
    graph = sampled("ltx", {"guidance": guidance("autoguidance")}) | {"bad": node("DuetLoadJointModel", model="Bounce")}
    assert "bad_model is a Duet model; connect a MODEL" in refused(native, graph)


def test_a_bad_model_that_is_the_model_is_refused(native):
    graph = sampled("ltx", {"guidance": guidance("autoguidance")})
    graph["guidance0"]["inputs"]["guidance.bad_model"] = ["model", 0]
    assert "bad_model is the same as model" in refused(native, graph)


def test_comparing_refuses_a_bad_model_of_comfyui(native):
    graph = prompt(WORKFLOW.parent / "bounce_compare.json")
    (key,) = [key for key, each in graph.items() if each["class_type"] == "DuetCompare"]
    graph |= {"bad": node("TinyModel", kind="ltx", seed=2), "auto": guidance("autoguidance")}
    graph[key]["inputs"] |= {"guidances.guidance0": ["auto", 0], "steps": 2}
    assert "bad_model is a ComfyUI MODEL; connect a Duet model" in refused(native, graph)


def test_our_sampler_refuses_a_bad_model_of_comfyui(native):
    graph = short() | {"bad": node("TinyModel", kind="ltx", seed=2), "4": guidance("autoguidance")}
    assert "bad_model is a ComfyUI MODEL; connect a Duet model" in refused(native, graph)
