"""Joined models on small random models of ComfyUI's classes: each stream of a joined run is its own model's run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROUNDING = 1e-5  # of float32, in parts of the spread
HIGH_SIGMAS = {"stable_audio": 3e-5, "EDM": 3e-5, "cogvideox": 3e-4}  # a step from σ 4,000 to σ 5 rounds to 4,000 × 6e-8


def limit(case: str) -> float:
    """How far the audio may be apart: with large σ, float32 rounds more in a step."""
    words = case.split()
    return max([ROUNDING, *(of for name, of in HIGH_SIGMAS.items() if name in words)])


def run_script(name: str, result: Path) -> dict:
    """Runs a script in ComfyUI's Python. Returns what it writes."""
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name(name)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, str(script), os.environ["COMFYUI_PATH"], str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_script("run_joined_models.py", tmp_path_factory.mktemp("joined") / "found.json")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return run_script("run_joined_checks.py", tmp_path_factory.mktemp("joined") / "checked.json")


def test_every_pair(found):
    """The video to the last bit, the audio but for rounding."""
    wrong = {
        f"{pair}: {check}": figures for pair, checks in found["pairs"].items() for check, figures in checks.items()
        if figures[0] != 0 or figures[1] > limit(pair)
    }  # fmt: skip
    assert len(found["pairs"]) == 15 and not wrong, wrong


@pytest.mark.parametrize("table", ["unchanged", "patched", "prompted", "partly given"])
def test_each_stream_is_its_own_models_run(found, table):
    """As for every pair. Where a patch or a prompt is tried, it has an effect."""
    wrong = {
        name: figures for name, figures in found[table].items()
        if figures[0] != 0 or figures[1] > limit(name) or (len(figures) > 2 and figures[2] < 2e-5)
    }  # fmt: skip
    assert found[table] and not wrong, wrong


def test_every_sampler_that_draws_no_noise_runs_each_stream_exactly(found):
    """Both streams to the last bit where their σ agree. Where they do not, the audio's equals its own run on the video's σ."""
    wrong = {name: each for name, each in found["samplers"].items() if each[:3] != [0, 0, 0] or each[4] > ROUNDING}
    assert len(found["samplers"]) >= 20 and not wrong, wrong


@pytest.mark.parametrize("name", ["euler", "euler_cfg_pp", "ddim"])
def test_first_order_samplers_run_the_audio_as_on_its_own_schedule(found, name):
    assert found["samplers"][name][3] <= ROUNDING


def test_the_seed_words_and_lora_of_one_stream_leave_the_other_to_the_last_bit(found):
    wrong = {name: each for name, each in found["independence"].items() if not each[0] or each[1] < 1e-3}
    assert len(found["independence"]) > 50 and not wrong, wrong


def test_each_network_sees_its_own_sigma(checked):
    """In a joined run as in one of its own. Halfway through the video's schedule, the audio is halfway through its own."""
    for pair, each in checked["sigmas"].items():
        assert each["joined"] == each["alone"] and len(each["alone"]["audio"]) == 4, pair
        assert each["half"][0] == pytest.approx(each["half"][1], rel=1e-5), pair


@pytest.mark.parametrize("name, calls", [
    ("video", (0, 4)), ("audio", (4, 0)), ("both", (0, 0)), ("video, SDE", (0, 4)), ("video, leftover noise", (0, 2)),
])  # fmt: skip
def test_a_stream_that_is_given_whole_costs_nothing_and_comes_back_as_it_was(checked, name, calls):
    found = checked["given"][name]
    assert tuple(found["calls"].values()) == calls and found["kept"]
    assert tuple(found["loaded"].values()) == tuple(each > 0 for each in calls)
    assert name == "video, SDE" or all(each <= ROUNDING for each in found["apart"].values())


def test_where_one_stream_is_given_the_prompt_of_the_other_model_is_enough(checked):
    assert checked["given with one prompt"] == [0, 0]


@pytest.mark.parametrize("name", ["area", "mask", "part of the video"])
def test_a_place_that_is_set_behind_the_joined_prompts_is_one_in_the_video(checked, name):
    video, audio, effect, on_audio = checked["places"][name]
    assert (video, audio) == (0, 0) and effect > 1e-3 and on_audio < ROUNDING


def test_both_models_are_loaded_at_once_with_the_memory_that_the_larger_step_needs(checked):
    found = checked["estimates"]
    assert found["loads"] == 1 and found["both"]
    assert found["joined"] == [max(each) for each in zip(*found["alone"], strict=True)]
    assert found["joined"][0] > 7 << 30  # the control's


def test_models_of_a_prompts_hooks_are_loaded_with_both(checked):
    assert checked["beside"] == [True]


def test_hooks_run_the_patcher_that_comfyui_gives_a_model_for_them(checked):
    assert checked["delegate"] == 0


def test_a_model_on_several_cards_runs_on_them(checked):
    assert checked["several cards"] == [0, 4]


def test_clean_estimates_are_those_of_both_models(checked):
    """The second output of SamplerCustomAdvanced, in the middle of a schedule."""
    for pair, (video, audio) in checked["clean estimates"].items():
        assert video == 0 and audio <= limit(pair), pair


def test_weights_that_do_not_fit_are_offloaded(checked):
    found = checked["small card"]
    assert all(0.02 < share < 0.5 for share in found["loaded"]) and all(each <= ROUNDING for each in found["apart"])


def test_fifty_runs_leave_nothing_behind(checked):
    found = checked["growth"]
    assert found["after"] == found["before"] and found["after"][1] == 0 and found["MB"] < 10


def test_a_joined_model_is_freed_with_its_graph_and_its_models_with_theirs(checked):
    assert checked["freed"] == [[True, False, False], [True, True, True]]


def test_a_run_that_stops_in_the_middle_leaves_both_models_clean(checked):
    assert len(checked["after errors"]) == 4 and all(each == [True] * 3 for each in checked["after errors"].values())


REFUSED = {
    "two videos": "audio is Cosmos, a video model; connect an audio model",
    "two audios": "video is Stable Audio 3, an audio model; connect a video model",
    "a model that makes both": "video is LTX-2, which makes video and audio itself; use it as it is",
    "a joined model": "video is a joined model already; connect one of the two",
    "LazyCache on one": "video has LazyCache, which answers for a whole guider; use EasyCache, or add it after Join Models",
    "a latent of the video alone": "the latent does not hold one video and one audio; connect Empty Video + Audio",
    "other channels": "the latent's video is 48×3×4×4, and Wan 2.1 / 2.2 needs 16×any×any×any; connect Empty",
    "an audio of another form": "the latent's audio is 8×16×10, and Stable Audio 3 needs 256×any; connect Empty",
    "streams exchanged": "the latent's video is 256×10, and Wan 2.1 / 2.2 needs 16×any×any×any; connect Empty",
    "two clips of SVD": "the latent holds 2 clips, and Stable Video Diffusion makes one at a time; use a batch of 1",
    "an encoder of another width": "the video prompt of positive is 768 wide, and Wan 2.1 / 2.2 needs 24; encode it with",
    "a prompt of one model": "positive is the prompt of one model, and a joined model needs one for each; connect Join",
    "joined twice": "video is a joined conditioning already; connect the prompt of one model",
    "zeroed after joining": "the tokens of negative were changed after its prompts were joined; change them before",
    "a LoRA after joining": "a LoRA or merge has no effect on a joined model; add it to the video's or the audio's model",
    "a shift after joining": "the model sampling of the joined model was changed; add it to the video's or the audio's model",
    "EasyCache after joining": "the joined model has easycache, which has no effect there; add it to the video's or the audio's",
    "a compiler after joining": "a joined model has no network of its own; add it to the video's or the audio's model",
    "a CFG patch after joining": "the joined model has a patch that replaces CFG, which has no effect there; add it to the",
    "a mask on the audio": "the audio prompt of positive has a mask, which Stable Audio 3 cannot use; remove it",
    "an area of an image": "the video prompt of positive has an area in 2 directions, and a latent of Wan 2.1 / 2.2 has 3; use",
    "an image of another length": "Wan 2.1 / 2.2 failed on the video's prompt or latent (Sizes of tensors must match",
    "an audio that is too short": "ACE-Step 1.5 failed on the audio's prompt or latent (The expanded size",
    "a size that the network does not take": "Cosmos failed on the video's prompt or latent (AssertionError); encode",
    "a guider with another model": "this guider runs a second model, which for joined models only Joint Guider with autoguidance",
    "CFG Override on one": "video has a patch of the guider, such as CFG Override, which answers for a whole guider; add it after",
    "perturbed attention after joining": "the joined model has attention patches, which have no effect there; add it",
    "a data type after joining": "the joined model has another manual_cast_dtype, which has no effect there; add it to the video's",
    "saving": "a joined model has no weights to save; save the video's and the audio's model",
    "a sampler that makes latents larger": "the sampler lcm_upscale needs the shape of a video",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(checked, name):
    kind, _, said = checked["refused"][name].partition(": ")
    assert kind in ("ValueError", "AttributeError") and said.startswith(REFUSED[name]) and "\n" not in said
