"""Published experts in the nodes: listed, loaded, joined, sampled and decoded."""

from __future__ import annotations

import json
from shutil import copytree

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from duet_av.av_models.checkpoint import save_checkpoint
from duet_av.av_models.media import read_video
from duet_av.av_models.published.build_pair import WIDTHS, joint_layers
from duet_av.commands import main
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.guidance import DuetGuidance
from duet_av.nodes.join_experts import DuetJoinExperts
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests import pipelines, small
from duet_av.tests.published import audioldm2_pipeline, saved, svd_pipeline
from duet_av.tests.test_workflows import FOLDER


@pytest.fixture(scope="module")
def saved_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    saved(svd_pipeline(), root / "diffusers" / "svd.1")
    saved(audioldm2_pipeline(), root / "duet" / "audio" / "audioldm2")
    saved(pipelines.audioldm(), root / "diffusers" / "audioldm")
    small.save_expert(root / "duet", "video_expert")
    return root


@pytest.fixture
def models(saved_folders):
    token = session.set(Session(Folders(models=saved_folders)))
    yield saved_folders
    session.reset(token)


def options(cls) -> list[str]:
    return cls.GET_NODE_INFO_V1()["input"]["required"]["expert"][1]["options"]


def joined(video: str, audio: str, blocks: int = 2, **options):
    experts = DuetLoadVideoExpert.execute(video).args[0], DuetLoadAudioExpert.execute(audio).args[0]
    return DuetJoinExperts.execute(*experts, blocks, "Bounce", "Bounce", **options)


def test_folders_are_listed_and_what_lies_in_them_is_not(models):
    save_file({"x": torch.zeros(1)}, small_checkpoints(models) / "svd_xt.safetensors")
    save_file({"x": torch.zeros(1)}, small_checkpoints(models) / "sd_xl.safetensors")
    listed = ["Bounce", "video_expert.safetensors", "svd_xt.safetensors", "audio/audioldm2", "audioldm", "svd.1"]
    assert sorted(options(DuetLoadAudioExpert)) == sorted(listed)
    assert sorted(options(DuetLoadVideoExpert)) == sorted([*listed, "Hearing study T2V"])
    assert DuetLoadVideoExpert.validate_inputs("svd_xt.safetensors") is True


def small_checkpoints(models):
    (models / "checkpoints").mkdir(exist_ok=True)
    return models / "checkpoints"


def test_svd_and_audioldm2_make_a_clip_with_its_sound(models):
    output = joined("svd.1", "audio/audioldm2")
    model = output.args[0]
    assert model.name == "svd.1 + audioldm2" and "untrained" in output.shown["duet"][0]["warnings"][0]
    prompts = DuetEncodePrompts.execute(model, "", "metal ball", "", "rain", torch.rand(1, 20, 24, 3)).args[0]
    size = {"size": "custom", "height": 16, "width": 16, "fps": 7.0}
    latent = DuetEmptyLatent.execute(model, 0.43, 1, size).args[0]
    guidance = DuetGuidance.execute({"guidance": "cfg", "video_scale": 2.0, "audio_scale": 2.0}, 1.0, 1.0).args[0]
    settings = {"video_seed": 1, "audio_seed": 2, "steps": 2, "shift": 1.0, "batch_branches": True}
    made = DuetJointSampler.clone_for_run({"unique_id": "1"}).execute(model, prompts, latent, guidance, **settings)
    images, audio, fps = DuetDecode.execute(model, made.args[0]).args
    assert images.shape == (3, 16, 16, 3) and audio["waveform"].shape == (1, 1, round(16000 * 3 / 7)) and fps == 7
    assert joined("svd.1", "audio/audioldm2").args[0] is model


def test_svd_and_audioldm2_recommend_what_their_template_has(models):
    graph = json.loads((FOLDER / "api" / "svd_audioldm2.json").read_text()).values()
    sampler, guidance = (
        next(node["inputs"] for node in graph if node["class_type"] == name) for name in ("DuetJointSampler", "DuetGuidance")
    )
    advice = joined("svd.1", "audio/audioldm2").args[0].recommended
    assert (advice.steps, advice.shift, advice.eta) == (sampler["steps"], sampler["shift"], sampler["eta"])
    assert advice.make_guidance().scales == {f"{m}_scale": guidance[f"guidance.{m}_scale"] for m in ("video", "audio")}
    assert advice.guidance == guidance["guidance"] and not joined("svd.1", "audioldm").args[0].recommended.given


def test_the_workflow_of_svd_and_audioldm2_makes_a_file(saved_folders, tmp_path, capsys):
    copytree(saved_folders / "diffusers" / "svd.1", tmp_path / "duet" / "svd")
    copytree(saved_folders / "duet" / "audio" / "audioldm2", tmp_path / "diffusers" / "audioldm2")
    Image.new("RGB", (24, 20), "teal").save(tmp_path / "example.png")
    settings = {
        "Video expert.expert": "svd", "Model.joint_blocks": 2, "Sampler.steps": 2, "Latent.seconds": 0.43,
        "Latent.size": "custom", "Latent.size.height": 16, "Latent.size.width": 16, "Latent.size.fps": 7.0,
    }  # fmt: skip
    folders = ["--models-dir", str(tmp_path), "--input-dir", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert main(["run", str(FOLDER / "api" / "svd_audioldm2.json"), *changed, *folders, "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "untrained" in made["reports"]["Model"]["warnings"][0] and len(read_video(made["files"][0]).frames) == 3


def test_trained_layers_go_between_their_experts(models):
    fresh = joined("svd.1", "audio/audioldm2").args[0]
    joint = {"inputs": [1, 1], "joint_blocks": 2, **WIDTHS}
    clip = {"frames": 3, "height": 16, "width": 16, "fps": 7}
    card = {"kind": "joint_layers", "architecture": "JointDiT", "trained": True, "joint": joint, "clip": clip}
    save_checkpoint(models / "duet" / "layers.safetensors", joint_layers(fresh.denoiser).state_dict(), card)
    assert "layers.safetensors" in DuetJoinExperts.GET_NODE_INFO_V1()["input"]["optional"]["joint_layers"][1]["options"]
    assert DuetJoinExperts.validate_inputs("Bounce", "Bounce", "layers.safetensors") is True
    assert "gone.safetensors" in DuetJoinExperts.validate_inputs("Bounce", "Bounce", "gone.safetensors")
    output = joined("svd.1", "audio/audioldm2", joint_layers="layers.safetensors")
    assert output.args[0].trained and output.args[0].clip.height == 16 and not output.shown["duet"][0]["warnings"]
    stamps = [DuetJoinExperts.fingerprint_inputs("Bounce", "Bounce", name) for name in ("none", "layers.safetensors")]
    assert stamps[0] != stamps[1]
    (models / "duet" / "layers.safetensors").unlink()


def test_a_pair_that_cannot_be_woven_is_said_to_stay_apart(models):
    shown = joined("svd.1", "audioldm").shown
    assert "without joint layers" in shown["text"][-1] and shown["duet"][0]["architecture"] == "SeparateExperts"


def test_a_changed_file_in_a_folder_is_noticed(saved_folders, tmp_path):
    copytree(saved_folders / "diffusers" / "svd.1", tmp_path / "diffusers" / "svd")
    token = session.set(Session(Folders(models=tmp_path)))
    try:
        before = DuetLoadVideoExpert.fingerprint_inputs("svd")
        config = tmp_path / "diffusers" / "svd" / "unet" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"num_frames": 14}))
        assert DuetLoadVideoExpert.fingerprint_inputs("svd") != before
    finally:
        session.reset(token)


@pytest.mark.parametrize("load, name, words", [
    (DuetLoadAudioExpert, "svd.1", ["holds a video model", "use Load Video Expert"]),
    (DuetLoadVideoExpert, "audioldm", ["holds an audio model", "use Load Audio Expert"]),
])  # fmt: skip
def test_an_expert_of_the_other_kind_is_refused(models, load, name, words):
    with pytest.raises(ValueError) as error:
        load.execute(name)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)
