"""PE-AV in the real ComfyUI: its folder in models/duet is a binder of the aligner."""

import json
import shutil

import pytest

from duet_av.tests.comfyui.graphs import node, saved

NAME = "pe-av-small"


@pytest.fixture(scope="module")
def folder(comfyui, small_pe_av):
    found = comfyui.base / "models" / "duet" / NAME
    shutil.copytree(small_pe_av, found)
    yield
    shutil.rmtree(found)


def test_a_sound_is_aligned_with_it(comfyui, folder):
    inputs = json.loads(comfyui.get("/object_info/DuetAligner"))["DuetAligner"]["input"]
    assert inputs["required"]["binder"][1]["options"] == ["Bounce-Bind", "Bounce-Bind Robust", "Bounce-Bind Times", NAME]
    assert inputs["optional"]["timing"][1]["default"] == 0
    run = comfyui.run({
        "model": node("DuetLoadJointModel", model="Bounce"),
        "frames": node("EmptyImage", width=64, height=64, batch_size=9, color=0x408020),
        "prompts": node("DuetEncodePrompts", model=["model", 0], video_prompt="a ball", audio_prompt="metal ball",
                        video_negative="", audio_negative=""),
        "latent": node("DuetEncode", model=["model", 0], fps=16.0, seconds=0.0, keep="what is connected", images=["frames", 0]),
        "guidance": node("DuetGuidance", guidance="none", a_to_v=1.0, v_to_a=1.0),
        "aligner": node("DuetAligner", binder=NAME, task="v2a", video_rate=0.1, audio_rate=0.1, update="sign", keep="nothing",
                        inner_steps=1, first=0.0, last=1.0, words=1.0, agreement=1.0, prompt_rate=0.0, through_denoiser=False,
                        steps_ahead=0, latent_frames=0, save_memory=True, half_precision=True, timing=1.0),
        "sampler": node("DuetJointSampler", model=["model", 0], prompts=["prompts", 0], latent=["latent", 0],
                        guidance=["guidance", 0], video_seed=1, audio_seed=2, steps=2, shift=1.0, batch_branches=True,
                        aligner=["aligner", 0]),
        "decode": node("DuetDecode", model=["model", 0], latent=["sampler", 0]),
        "mux": saved(["decode", 0], ["decode", 2], audio=["decode", 1]),
    })  # fmt: skip
    assert run.succeeded, run.error
    assert run.texts["aligner"] == ["PE-AV: the audio is adjusted to match a video", "PE-AV's weights: Apache-2.0"]
    assert run.files[0].stat().st_size > 0
