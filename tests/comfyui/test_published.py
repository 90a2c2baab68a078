"""Published experts in the real ComfyUI, from the folders where it keeps them."""

import json
import shutil

import pytest

from duet_av.tests.comfyui.graphs import node, saved
from duet_av.tests.published import audioldm2_pipeline, svd_pipeline
from duet_av.tests.published import saved as save


@pytest.fixture(scope="module")
def folders(comfyui):
    models = comfyui.base / "models"
    save(svd_pipeline(), models / "diffusers" / "svd")
    save(audioldm2_pipeline(), models / "duet" / "audio" / "audioldm2")
    yield
    shutil.rmtree(models / "diffusers" / "svd")
    shutil.rmtree(models / "duet" / "audio")


def choices(comfyui, node_id: str, name: str) -> set[str]:
    return set(json.loads(comfyui.get(f"/object_info/{node_id}"))[node_id]["input"]["required"][name][1]["options"])


def test_folders_are_among_the_choices_and_their_parts_are_not(comfyui, folders):
    assert choices(comfyui, "DuetLoadVideoExpert", "expert") == {"Bounce", "Hearing study T2V", "svd", "audio/audioldm2"}
    assert choices(comfyui, "DuetLoadJointModel", "model") == {"Bounce", "Bounce JointDiT", "Hearing study T2AV"}


def test_svd_and_audioldm2_make_a_clip_with_its_sound(comfyui, folders):
    size = {"size": "custom", "size.height": 16, "size.width": 16, "size.fps": 7.0}
    run = comfyui.run({
        "video": node("DuetLoadVideoExpert", expert="svd"),
        "audio": node("DuetLoadAudioExpert", expert="audio/audioldm2"),
        "model": node("DuetJoinExperts", video_expert=["video", 0], audio_expert=["audio", 0], joint_blocks=2,
                      video_codec="Bounce", audio_codec="Bounce"),
        "picture": node("EmptyImage", width=24, height=20, batch_size=1, color=0x408020),
        "prompts": node("DuetEncodePrompts", model=["model", 0], video_prompt="", audio_prompt="metal ball", video_negative="",
                        audio_negative="rain", picture=["picture", 0]),
        "latent": node("DuetEmptyLatent", model=["model", 0], seconds=0.43, batch=1, **size),
        "guidance": node("DuetGuidance", guidance="cfg", a_to_v=1.0, v_to_a=1.0,
                         **{"guidance.video_scale": 2.0, "guidance.audio_scale": 2.0}),
        "sampler": node("DuetJointSampler", model=["model", 0], prompts=["prompts", 0], latent=["latent", 0],
                        guidance=["guidance", 0], video_seed=1, audio_seed=2, steps=2, shift=1.0, batch_branches=True),
        "decode": node("DuetDecode", model=["model", 0], latent=["sampler", 0]),
        "mux": saved(["decode", 0], ["decode", 2], audio=["decode", 1]),
    })  # fmt: skip
    assert run.succeeded, run.error
    assert "untrained" in run.texts["model"][1] and run.files[0].stat().st_size > 0
