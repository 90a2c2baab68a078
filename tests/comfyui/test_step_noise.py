"""Samplers that draw noise while they run, with Joint Noise and Joint Guider: the video and the audio are independent."""

import json

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import KINDS, guidance, sampled

DRAWS = {
    "euler_ancestral", "euler_ancestral_cfg_pp", "exp_heun_2_x0_sde", "dpm_2_ancestral", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece",
}  # fmt: skip
ONE_STEP = {"dpm_adaptive"}  # the size of a step depends on both streams
FREE = {"eta": 1.0, "s_noise": 1.0}
NODES = {  # core's nodes of samplers that draw
    "SamplerEulerAncestral": FREE, "SamplerEulerAncestralCFGPP": FREE, "SamplerDPMPP_2S_Ancestral": FREE,
    "SamplerDPMPP_SDE": FREE | {"r": 0.5, "noise_device": "gpu"}, "SamplerDPMPP_3M_SDE": FREE | {"noise_device": "cpu"},
    "SamplerDPMPP_2M_SDE": FREE | {"solver_type": "heun", "noise_device": "cpu"},
    "SamplerER_SDE": FREE | {"solver_type": "Reverse-time SDE", "max_stage": 3},
    "SamplerSEEDS2": FREE | {"solver_type": "phi_2", "r": 0.5},
    "SamplerLCM": {"s_noise": 1.0, "s_noise_end": 0.5, "noise_clip_std": 0.0},
    "SamplerSASolver": FREE | {
        "model": ["model", 0], "sde_start_percent": 0.0, "sde_end_percent": 1.0, "predictor_order": 3, "corrector_order": 4,
        "use_pece": True, "simple_order_2": False,
    },
    "SamplerDPMAdaptative": FREE | {
        "order": 3, "rtol": 0.05, "atol": 0.0078, "h_init": 0.05, "pcoeff": 0.0, "icoeff": 1.0, "dcoeff": 0.0,
        "accept_safety": 0.81,
    },
}  # fmt: skip


def cut(kind: str, **changes: list) -> dict:
    """A graph that samples with cut coupling, under other seeds. changes: inputs of the node that samples."""
    graph = sampled(
        kind, *({"guidance": guidance("none", coupling=0.0), **seeds} for seeds in ({}, {"audio_seed": 5}, {"video_seed": 7}))
    )
    for index in range(3):
        del graph[f"out{index}"]
    inputs = {"guider": ["guider0", 0], "latent": ["model", 1], "sigmas": ["sigmas", 0]}
    noises = {name: [f"noise{index}", 0] for index, name in enumerate(("noise", "other_audio", "other_video"))}
    graph["told"] = node("StepNoise", **inputs | noises | changes)
    return graph


def told(server, graph: dict, key: str = "told") -> dict[str, dict[str, list[float]]]:
    run = server.run(graph)
    assert run.succeeded, run.error
    return {each.pop("name"): each for each in map(json.loads, run.texts[key])}


def check(far: dict[str, list[float]], draws: bool) -> None:
    """Checks that the streams are independent. draws: whether the sampler draws while it runs."""
    assert far["again"] == [0, 0]
    assert far["audio"][0] == far["video"][1] == 0 and far["audio"][1] > 0.1 and far["video"][0] > 0.1
    assert far["audio step"][0] == far["video step"][1] == 0
    steps = (far["audio step"][1], far["video step"][0], *far["plain"])
    assert min(steps) > 0.1 if draws else max(steps) == 0


@KINDS
def test_streams_are_independent_under_every_sampler(native, kind):
    found = told(native, cut(kind))
    assert DRAWS | ONE_STEP < set(found) and len(found) >= 44
    for name, far in found.items():
        if name not in ONE_STEP:
            check(far, name in DRAWS)


@KINDS
def test_streams_are_independent_under_every_node_of_a_sampler(native, kind):
    graph = cut(kind)
    for name, settings in NODES.items():
        graph[f"{name} sampler"] = node(name, **settings)
        graph[name] = node("StepNoise", **graph["told"]["inputs"], sampler=[f"{name} sampler", 0])
    del graph["told"]
    run = native.run(graph)
    assert run.succeeded, run.error
    for name in NODES:
        far = json.loads(run.texts[name][0])
        if name != "SamplerDPMAdaptative":
            check(far, draws=True)
        else:
            (other_video, audio), (video, other_audio) = far["audio step"], far["video step"]
            assert min(video, audio) > 0.1 and other_video < video / 5 and other_audio < audio / 5


def test_the_samplers_of_brownian_noise_are_those_of_the_host(native):
    graph = cut("ltx")
    graph["told"] = node("Brownian", guider=["guider0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    theirs, ours = run.texts["told"]
    assert theirs == ours and len(ours.split()) == 8


@KINDS
def test_brownian_noise_is_a_brownian_motion_of_each_stream(native, kind):
    graph = cut(kind)
    graph["noise0"]["inputs"] |= {"video_seed": 3, "audio_seed": 3}
    graph["told"] = node("BrownianNoise", guider=["guider0", 0], noise=["noise0", 0], latent=["model", 1])
    run = native.run(graph)
    assert run.succeeded, run.error
    found = json.loads(run.texts["told"][0])
    assert max(found["sum"]) < 1e-4 and found["longer"] == [0, 0]
    assert abs(found["alike"]) < 0.2 and found["spread"] == pytest.approx([1, 1], abs=0.15)


@KINDS
@pytest.mark.parametrize("sampler", ["ddim", "euler_ancestral"])
def test_streams_are_independent_where_a_mask_keeps_a_part(native, kind, sampler):
    graph = cut(kind, latent=["kept", 0], sampler=["sampler", 0]) | {"kept": node("HalfKept", latent=["model", 1])}
    graph["sampler"]["inputs"]["sampler_name"] = sampler
    far = told(native, graph)["given"]
    if sampler == "ddim" and kind == "h3":  # adds a thousandth of noise, which this sampler draws, to the video that a mask keeps
        assert 0 < far["video step"][0] < 1e-3
        far["video step"][0] = 0.0
    check(far, draws=sampler != "ddim")


@pytest.mark.parametrize("freenoise", [False, True])
def test_streams_are_independent_in_context_windows(native, freenoise):
    graph = cut("ltx", latent=["long", 0], sampler=["sampler", 0])
    graph["long"] = node("ShapedLatent", sizes=json.dumps([(1, 8, 8, 2, 2), (1, 8, 16, 16)]))
    graph["windows"] = node(
        "LTXVContextWindows", model=["model", 0], context_length=25, context_overlap=16, context_schedule="standard_static",
        fuse_method="pyramid", freenoise=freenoise, context_stride=1, closed_loop=False, retain_first_frame=False,
        split_conds_to_windows=False,
    )  # fmt: skip
    graph["guider0"]["inputs"]["model"] = ["windows", 0]
    graph["sampler"]["inputs"]["sampler_name"] = "euler_ancestral"
    check(told(native, graph)["given"], draws=True)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_sde"])
def test_a_row_of_a_batch_is_the_clip_alone(native, sampler):
    graph = sampled("ltx", {"latent": ["batch", 0]}, {"latent": ["alone", 0]})
    graph |= {"batch": node("Rows", latent=["model", 1], numbers="[0, 1, 2]"), "row": node("OneRow", latent=["out0", 0], row=2)}
    graph |= {"alone": node("Rows", latent=["model", 1], numbers="[2]")}
    graph["sampler"]["inputs"]["sampler_name"] = sampler
    graph["told"]["inputs"]["a"] = ["row", 0]
    video, audio, *spread = map(float, run_texts(native, graph))
    assert max(video, audio) < 1e-4 and min(spread) > 0.1


@KINDS
@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_sde", "lcm"])
def test_step_noise_is_as_large_as_the_noise_that_it_replaces(native, kind, sampler):
    """Of a model that predicts zero: MiniMax-H3's audio too, which is sampled in the scale of the video's schedule."""
    graph = sampled(kind, {"sampler": "drawing"}, {})
    (video, audio) = ((1, 8, 9, 8, 8), (1, 8, 50, 16)) if kind == "ltx" else ((1, 24, 5, 8, 8), (1, 32, 2, 80))
    graph |= {"large": node("ShapedLatent", sizes=json.dumps([video, audio])), "zero": node("PredictsZero", model=["model", 0])}
    graph |= {"high": node("SplitSigmas", sigmas=["sigmas", 0], step=3), "drawing": node("KSamplerSelect", sampler_name=sampler)}
    for index in range(2):
        graph[f"guider{index}"]["inputs"]["model"] = ["zero", 0]
        graph[f"out{index}"]["inputs"] |= {"sigmas": ["high", 0], "latent_image": ["large", 0]}
    graph["plain"] = node("HowFarApart", a=["out1", 0], b=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    drawn, plain = (list(map(float, run.texts[key][2:])) for key in ("told", "plain"))
    assert drawn == pytest.approx(plain, rel=0.05) and min(map(float, run.texts["told"][:2])) > 0.1


@KINDS
@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_sde", "dpm_adaptive"])
def test_noise_of_one_seed_is_that_of_the_host(native, kind, sampler):
    theirs = node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=3.0)
    graph = sampled(kind, {"guidance": guidance("cfg")}, {"guider": theirs}, words=6)
    graph["random"] = node("RandomNoise", noise_seed=4)
    for index in range(2):
        graph[f"out{index}"]["inputs"]["noise"] = ["random", 0]
    graph["sampler"]["inputs"]["sampler_name"] = sampler
    video, audio, *spread = map(float, run_texts(native, graph))
    assert max(video, audio) < 1e-4 and min(spread) > 0.1


def test_the_hosts_guider_reads_the_seed_of_the_video(native):
    graph = cut("ltx", guider=["theirs", 0], sampler=["sampler", 0])
    graph["theirs"] = node("BasicGuider", model=["model", 0], conditioning=["yes", 0])
    for sampler in ("euler_ancestral", "dpmpp_sde"):
        graph["sampler"]["inputs"]["sampler_name"] = sampler
        far = told(native, graph)["given"]
        assert far["plain"] == far["audio step"] == [0, 0] and min(far["video step"]) > 0.1


@pytest.mark.parametrize("sampler, draws", [("euler", False), ("euler_ancestral", True), ("dpmpp_2m_sde", True)])
def test_video_alone_is_sampled_from_the_seed_of_the_video(native, sampler, draws):
    graph = cut("ltx", latent=["one", 0], sampler=["sampler", 0]) | {"one": node("OneStream", latent=["model", 1])}
    graph["guidance0"] = guidance("none")
    graph["sampler"]["inputs"]["sampler_name"] = sampler
    far = told(native, graph)["given"]
    assert far["again"] == far["audio"] == far["audio step"] == [0] and far["video"][0] > 0.1
    assert [far["video step"][0] > 0.1, far["plain"][0] > 0.1] == [draws, draws]


def run_texts(server, graph: dict) -> list[str]:
    run = server.run(graph)
    assert run.succeeded, run.error
    return run.texts["told"]
