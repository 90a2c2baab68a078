"""Duet's guidance, seeds and reports on joined models, of small random ones of ComfyUI's classes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROUNDING, OF_HIGH_SIGMAS = 1e-5, 2e-5  # of float32, in parts of the spread; where a step begins at σ 80 to 500
SAME_ROWS = ("cfg", "ComfyUI's cfg", "rescale")  # the video's calls have the rows of the model alone: the same to the last bit
WEAKER = "use a weaker version of the same model"
REFUSED = {
    "stg": "guidance stg skips a block, which this model does not support; choose another guidance",
    "skip scale": "guidance modality_cfg skips a block, which this model does not support; choose another guidance",
    "negative_skip_block": "negative_skip_block is 1, but this model cannot skip blocks; use -2 (off)",
    "no bad model": "guidance autoguidance needs a second, weaker model; pass one as bad_model",
    "the same": "bad_model is the same as model; use a weaker version, such as the model without its LoRA",
    "its clone": "bad_model is the same as model; use a weaker version, such as the model without its LoRA",
    "another video": f"bad_model has LTX-Video for the video and model has Wan 2.1 / 2.2; {WEAKER}",
    "another audio": f"bad_model has ACE-Step 1 for the audio and model has Stable Audio 3; {WEAKER}",
    "one model": (
        "bad_model is a WAN21, which is not a joint audio-video model; connect LTX-2, MiniMax-H3 or a model from Join Models"
    ),
    "no negative": "negative is not connected, and joint_cfg or the sampler needs it; connect a negative prompt",
    "a second joined model": (
        "this guider runs a second model, which for joined models only Joint Guider with autoguidance can; use that"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name("run_joined_guidance.py")
    result = tmp_path_factory.mktemp("guidance") / "found.json"
    command = [python, str(script), os.environ["COMFYUI_PATH"], str(result)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text())


def limit(pair: str) -> float:
    return OF_HIGH_SIGMAS if pair.endswith(" v") else ROUNDING


def test_each_method_guides_a_stream_as_its_formula_guides_the_model_alone(found):
    assert len(found["methods"]) == 29
    for case, (video, audio, effect) in found["methods"].items():
        pair, _, name = case.partition(": ")
        assert video <= (0 if name in SAME_ROWS else ROUNDING) and audio <= limit(pair) and effect > 5e-4, (case, video, audio)


def test_methods_for_coupling_are_cfg_to_the_last_bit_and_cost_the_same(found):
    for name, each in found["without_coupling"].items():
        assert (each["same"], each["rows"], each["calls"]) == (True, 8, 8), name
        own = [] if name == "cfg" else [f"this model has no coupling, so {name} equals cfg"]
        own += ["a_to_v and v_to_a have no effect: this model has no coupling"] if name == "joint_cfg" else []
        assert each["told"] == [f"{name}: 2 branches per step in 2 network calls", "network calls: of both models", *own]


def test_rows_and_calls_are_counted_as_the_node_says(found):
    assert len(found["costs"]) == 9 and found["costs"]["autoguidance"] == [2, 4, 2, 4]
    for name, (rows, calls, *told) in (found["costs"] | {"two lengths": found["more_costs"]["two lengths"]}).items():
        assert [rows, calls] == told, name
    assert found["more_costs"]["two lengths"][1] == 4


def test_a_stream_at_scale_1_has_no_negative_to_run(found):
    video_rows, audio_rows, video, audio = found["more_costs"]["scale 1"]
    assert (video_rows, audio_rows, video) == (1, 2, 0) and audio < ROUNDING


def test_a_given_video_costs_no_call(found):
    assert found["more_costs"]["given"] == [2, 1, 0, 0]


def test_autoguidance_is_comfyuis_dual_model_guider_of_each_model(found):
    tables = found["autoguidance"]
    for pair in ("flow + flow", "flow + v", "EDM + flow", "another EDM + v"):
        video, audio = tables[pair]
        assert video == 0 and audio <= limit(pair), pair


def test_a_bad_model_of_the_same_loader_has_its_own_weights(found):
    tables = found["autoguidance"]
    assert tables["of one loader"] == [0, 0] and min(tables["its effect"]) > 1e-2
    assert tables["the models afterwards"] == [0, 0]


def test_only_the_audio_can_have_a_bad_model(found):
    assert found["autoguidance"]["the same video"] == [0, 0]


def test_a_branch_can_have_different_prompts_and_costs_no_more(found):
    video, audio, rows, calls = found["mixed_prompts"]
    assert max(video, audio) < ROUNDING and (rows, calls) == (2, 2)


def test_a_guided_model_gives_the_same_in_any_guider(found):
    assert len(found["by_any_sampler"]) == 4 and all(each == [0, 0] for each in found["by_any_sampler"].values())


def test_the_seed_of_one_stream_leaves_the_other_to_the_last_bit(found):
    """With ComfyUI's own guider too, and for noise that samplers draw while they run."""
    assert len(found["seeds"]) == 16
    for name, ((video, audio), (other_video, other_audio)) in found["seeds"].items():
        assert video == other_audio == 0 and min(audio, other_video) > 0.5, name


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(found, case):
    assert found["refused"][case] == REFUSED[case]


def test_times_are_from_0_to_1_also_of_models_with_sigmas_above_1(found):
    facts = found["facts"]
    assert facts["times"]["EDM + flow"][0] == facts["times"]["another EDM + v"][0] == pytest.approx(1 / 3)  # σ 0.5
    assert facts["times"]["flow + flow"][0] == 0.5 and all(0 < each[1] < 1 for each in facts["times"].values())
    assert list(facts["sigmas"].values()) == pytest.approx([0.25] * 4)


def test_the_frame_rate_is_that_of_the_prompt_or_of_the_video_model(found):
    assert found["facts"]["fps"] == {"wan21": 16, "ltxv": 24, "svd": 7}


def test_a_comparison_says_which_methods_are_cfg(found):
    assert found["facts"]["labels"] == ["joint_cfg", "cfg"]
    assert found["facts"]["changes"] == ["network calls: of both models", "this model has no coupling, so joint_cfg equals cfg"]


def test_frames_of_an_image_vae_are_decoded_as_a_batch(found):
    assert found["facts"]["decoded"] == [True, True]


def test_calls_are_counted_next_to_the_network_where_it_runs_wrappers(found):
    """There, a call that a cache answers does not count."""
    inside, outside = "diffusion_model", "apply_model"
    assert found["facts"]["counted at"] == {"ltx": inside, "h3": inside, "wan21": inside, "stable_audio_3": outside}
