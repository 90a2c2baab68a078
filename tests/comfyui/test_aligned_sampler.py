"""Aligned Sampler in ComfyUI: the plain sampler where nothing moves, our own loop on the same networks, and any MODEL of both."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import duet_av
from duet_av.tests.comfyui.graphs import node

TOLERANCE = 1e-5
ALIGNER = {
    "binder": "Bounce-Bind", "task": "joint", "video_rate": 0.1, "audio_rate": 0.1, "update": "sign", "keep": "rms",
    "inner_steps": 2, "first": 0.0, "last": 1.0, "words": 0.0, "agreement": 1.0, "prompt_rate": 0.0, "through_denoiser": False,
    "steps_ahead": 0, "latent_frames": 2, "save_memory": True, "half_precision": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned")
    (folder / "duet_av").symlink_to(Path(duet_av.__file__).parent)
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ['COMFYUI_PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    python, result = os.environ.get("COMFYUI_PYTHON", "python"), folder / "found.json"
    command = [python, "-m", "duet_av.tests.comfyui.run_aligned", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | paths)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", ["joint", "words", "adam", "v2a", "half"])
def test_it_is_our_own_loop_on_the_same_networks(found, case):
    made = found["equal_to_our_loop"][case]
    assert max(made["apart"]) < TOLERANCE < 100 * TOLERANCE < max(made["moved"])
    assert made["moves"] == {"adam": 8, "half": 2}.get(case, 4)


@pytest.mark.parametrize("kind", ["ltx", "h3", "joined"])
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_without_rates_or_weights_it_is_the_plain_sampler_bit_for_bit(found, kind, sampler):
    assert found["plain_when_idle"][f"{kind} {sampler}"] == [True] * 4


@pytest.mark.parametrize("kind", ["ltx", "h3", "joined"])
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_clips_match_better_and_are_the_same_again(found, kind, sampler):
    made = found["distances"][f"{kind} {sampler}"]
    assert made["again"] and made["aligned"] < max(0.02, 0.2 * made["plain"])


@pytest.mark.parametrize("kind", ["ltx", "h3", "joined"])
def test_the_audio_moves_in_its_own_coordinates(found, kind):
    made = found["own_coordinates"][kind]
    assert made["moved"] == pytest.approx([0.01, 0.01], abs=1e-5) and made["inputs"] == 4
    assert made["slope"] == pytest.approx(1, abs=1e-4)  # of the clean estimate: 1 / (1 − σ) at the audio's own σ
    assert made["estimates"] < TOLERANCE  # what is decoded is ComfyUI's own clean estimate


@pytest.mark.parametrize("task, most", [("v2a", 5), ("a2v", 1), ("i2a", 1)])
def test_a_given_stream_is_decoded_once_and_stays(found, task, most):
    made = found["given_streams"][task]
    assert made["stays"] and made["is given"] < 1e-6 < made["moved"]
    assert made["decoded"] == most  # windows of one decoding, for any number of moves
    assert found["given_streams"]["part"] < 1e-6


def test_memory_goes_by_the_frames_that_are_looked_at(found):
    of = found["memory"]
    assert [of[f"{frames} 2"] for frames in (9, 60)] == [{"at once": 4, "shown": [5]}] * 2
    assert of["9 0"] == {"at once": 6, "shown": [33]} and of["60 0"] == {"at once": 6, "shown": [237]}


def test_a_run_leaves_nothing_loaded_also_if_it_fails(found):
    made = found["left_over"]
    assert made == {"loaded": [], "alive": 0, "copies": 4, "unloaded": 4, "failed": "yes", "loaded then": []}


def test_each_stream_draws_noise_from_its_own_seed(found):
    made = found["seeds"]
    assert made["same"] and made["other audio seed"][0] == 0 < made["other audio seed"][1]
    assert made["given"]["video"] and made["given"]["audio"] > 0.01


def test_a_move_with_nan_is_skipped_and_said(found):
    assert found["nan"]["finite"]
    [said] = found["nan"]["said"]
    assert said.endswith("; 1 of the moves had NaN in their gradient and were skipped; lower the rates")


def test_cancel_ends_before_the_next_evaluation(found):
    assert found["interrupted"] == {"ended": "yes", "evaluations": 2}


def test_vaes_have_gradients_for_every_latent_frame_and_stay_as_they_are(found):
    made = found["vae_gradients"]
    for name, apart in (("taew2_1", 0.01), ("taeltx", 1e-5), ("taeh3", 1e-5), ("ltx", 1e-5), ("ltx_audio", 1e-5)):
        assert made[name]["apart"] < apart and made[name]["least"] > 0.01 and made[name]["untouched"], name
    assert all(made[name]["back"] > 1e-4 for name in ("taew2_1", "taeltx", "taeh3"))  # through the memory of the decoder
    assert [made[name]["shown"] for name in ("taew2_1", "taeltx", "ltx")] == [5, 9, 9]  # of two latent frames
    assert made["taew2_1"]["at once"] == made["causal"] and made["taeh3"]["at once"] is None


@pytest.mark.parametrize("case, said", [
    ("another latent", "the video's latent is 128×3×2×3, and the VAE (TAEHV) takes 16 channels of video; connect the VAE of the "
                       "model's video, or a tiny one of the same latent"),
    ("audio as video", "the video's latent is 128×3×2×3, and the VAE (Linear) takes 8 channels of audio; connect the VAE of the "
                       "model's video, or a tiny one of the same latent"),
    ("no vae", "the task joint decodes the video; connect vae, best a tiny one"),
    ("no audio vae", "the task joint decodes the audio; connect audio_vae"),
    ("no audio", "the latent has no audio beside its video, so nothing can be aligned; connect a latent with both"),
    ("one frame", "the video has one frame, and the task joint matches a video; make a longer clip, or use i2a"),
    ("one frame, audio alone", "nothing"),
    ("no reference", "v2a needs a video as its reference; connect one to the aligner, or encode one into the latent"),
    ("nothing to align", "there is nothing to align to; give prompts, or set a weight for video and audio"),
    ("through_denoiser", "through_denoiser needs gradients through the network, which ComfyUI's models do not give; turn it off in "
                         "Aligner"),
    ("prompt_rate", "prompt_rate needs gradients through the network, which ComfyUI's models do not give; turn it off in Aligner"),
])  # fmt: skip
def test_bad_input_is_one_line(found, case, said):
    assert found["refusals"][case] == said


def test_a_vae_without_gradients_is_one_line(found):
    said = found["refusals"]["no gradients"]
    assert said.startswith("the video's VAE (MiniMaxH3VideoVAE) gives no gradients (") and "\n" not in said
    assert said.endswith("); connect another one, such as a tiny VAE")


def graph(changes: dict[str, Any], sampler: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": node("TinyModel", kind="ltx2", seed=1), "yes": node("TinyPrompt", kind="ltx2", seed=2, words=6),
        "vae": node("TinyVAE", kind="ltx", seed=0), "audio_vae": node("TinyAudioVAE", kind="ltx", seed=0),
        "aligner": node("DuetAligner", **ALIGNER | changes),
        "aligned": node("DuetAlignedSampler", aligner=["aligner", 0], sampler_name="euler", fps=24.0, **sampler),
        "euler": node("KSamplerSelect", sampler_name="euler"), "noise": node("RandomNoise", noise_seed=3),
        "guider": node("BasicGuider", model=["model", 0], conditioning=["yes", 0]),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=3, denoise=1.0),
        "one": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["aligned", 0],
                    sigmas=["sigmas", 0], latent_image=["model", 1]),
        "other": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
                      sigmas=["sigmas", 0], latent_image=["model", 1]),
        "apart": node("HowFarApart", a=["one", 0], b=["other", 0]),
    }  # fmt: skip


VAES = {"vae": ["vae", 0], "audio_vae": ["audio_vae", 0]}


def test_it_runs_in_a_graph(native):
    run = native.run(graph({}, VAES))
    assert run.succeeded, run.messages
    video, audio, *_ = map(float, run.texts["apart"])
    assert video > 0.01 and audio > 0.01
    assert run.texts["aligned"][0] == "Bounce-Bind: video and audio are both adjusted to match"
    run = native.run(graph({"video_rate": 0.0, "audio_rate": 0.0}, {}))
    assert run.texts["apart"][:2] == ["0.0", "0.0"]
    assert run.texts["aligned"][1] == "rates or weights are 0: the sampler changes nothing"


def test_bad_input_in_a_graph_is_one_line(native):
    run = native.run(graph({"through_denoiser": True}, VAES))
    assert run.error.startswith("through_denoiser needs gradients through the network")
    run = native.run(graph({}, {"vae": ["audio_vae", 0], "audio_vae": ["audio_vae", 0]}))
    assert run.error.startswith("the video's latent is 128×3×2×3, and the VAE (AudioVAE) takes 8 channels of audio; ")
    run = native.run(graph({}, {"vae": ["vae", 0], "audio_vae": ["vae", 0]}))
    assert run.error.endswith("takes 128 channels of video; connect the VAE of the model's audio")
