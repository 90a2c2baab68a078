"""Experts that people download in the nodes: listed, completed, joined, with LoRA and text encoders of ComfyUI, found again."""

from __future__ import annotations

import json
from shutil import copyfile, copytree

import pytest
import torch
from safetensors.torch import save_file

from duet_av.av_models.joint_checkpoint import save_joint_layers
from duet_av.av_models.published.downloads import PARTS
from duet_av.commands import main
from duet_av.nodes.conditioning_prompts import DuetPromptsFromConditioning
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.expert_lora import DuetAudioExpertLora, DuetVideoExpertLora
from duet_av.nodes.join_experts import DuetJoinExperts
from duet_av.nodes.load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from duet_av.nodes.load_joint_model import DuetLoadJointModel
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests.fake_clip import FakeClip

WAN, TANGOFLUX, UMT5 = "wan2.2_ti2v_5B_fp16.safetensors", "TangoFlux", "umt5_xxl_fp16.safetensors"
VAE = "wan2.2_vae.safetensors"
CLIP = {"frames": 5, "height": 32, "width": 32, "fps": 24}


def use(folder):
    return session.set(Session(folders=Folders(models=folder)))


@pytest.fixture
def models(small_wan_tangoflux):
    token = use(small_wan_tangoflux)
    yield small_wan_tangoflux
    session.reset(token)


@pytest.fixture
def own_models(small_wan_tangoflux, tmp_path):
    """A copy that may be changed."""
    token = use(copytree(small_wan_tangoflux, tmp_path / "models"))
    yield tmp_path / "models"
    session.reset(token)


@pytest.fixture(scope="module")
def pair(small_wan_tangoflux):
    token = use(small_wan_tangoflux)
    output = join(DuetLoadVideoExpert.execute(WAN).args[0], DuetLoadAudioExpert.execute(TANGOFLUX).args[0])
    session.reset(token)
    return output


def join(video, audio, **options):
    return DuetJoinExperts.execute(video, audio, 0, "Bounce", "Bounce", **options)


def choices(cls, group: str, name: str) -> list[str]:
    return cls.GET_NODE_INFO_V1()["input"][group][name][1]["options"]


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def test_files_of_comfyuis_folders_are_listed(own_models):
    (own_models / "unet").mkdir()
    (own_models / "unet" / "wan-Q4_K_M.gguf").write_bytes(b"")
    (own_models / "checkpoints").mkdir()
    for name in ("stable_audio_open_1.0", "sd_xl"):
        save_file({"x": torch.zeros(1)}, own_models / "checkpoints" / f"{name}.safetensors")
    names = choices(DuetLoadAudioExpert, "required", "expert")
    assert names == ["Bounce", "stable_audio_open_1.0.safetensors", WAN, "wan-Q4_K_M.gguf", TANGOFLUX]
    assert choices(DuetLoadVideoExpert, "optional", "text_encoder") == ["automatic", UMT5]
    assert choices(DuetLoadVideoExpert, "optional", "vae") == ["automatic", VAE]
    assert DuetLoadVideoExpert.validate_inputs(WAN) is True
    assert choices(DuetJoinExperts, "optional", "joint_layers") == ["none"]  # not the files in TangoFlux's folder


def test_fitting_parts_are_found_by_their_tensors(own_models):
    (own_models / "text_encoders" / UMT5).rename(own_models / "text_encoders" / "mine.safetensors")
    save_file({"x": torch.zeros(1)}, own_models / "text_encoders" / "another.safetensors")
    output = DuetLoadVideoExpert.execute(WAN)
    assert output.args[0].options.text_encoder == own_models / "text_encoders" / "mine.safetensors"
    assert {"text encoder: mine.safetensors", f"VAE: {VAE}", "precision: fp16"} <= set(output.shown["text"])
    assert "Not tried with published weights yet." in output.shown["text"] and not output.shown["duet"][0]["warnings"]
    before = DuetLoadVideoExpert.fingerprint_inputs(WAN)
    (own_models / "vae" / VAE).unlink()
    output = DuetLoadVideoExpert.execute(WAN)
    (missing,) = output.shown["duet"][0]["warnings"]
    assert missing.startswith("missing: the VAE of Wan 2.2") and str(PARTS["the VAE of Wan 2.2"]) in missing
    assert DuetLoadVideoExpert.fingerprint_inputs(WAN) != before
    (own_models / "text_encoders" / "mine.safetensors").unlink()
    text = DuetLoadVideoExpert.execute(WAN).shown["duet"][0]["warnings"][1]
    assert text.startswith("missing: the text encoder") and "the tokenizer" in text and text.count(str(PARTS["UMT5"])) == 1


def test_a_checkpoint_of_an_audio_model_finds_its_text_encoder(small_stable_audio_files):
    token = use(small_stable_audio_files)
    try:
        output = DuetLoadAudioExpert.execute("stable-audio-open-1.0.safetensors")
    finally:
        session.reset(token)
    assert "text encoder: t5-base.safetensors" in output.shown["text"] and not output.shown["duet"][0]["warnings"]


def test_a_chosen_part_is_used(models):
    output = DuetLoadVideoExpert.execute(WAN, text_encoder=UMT5, vae=VAE, precision="bf16")
    options = output.args[0].options
    assert "precision: fp16, loaded as bf16" in output.shown["text"]
    assert (options.text_encoder, options.vae) == (models / "text_encoders" / UMT5, models / "vae" / VAE)
    assert options.dtype == "bfloat16"
    with pytest.raises(FileNotFoundError) as error:
        DuetLoadVideoExpert.execute(WAN, vae="gone.safetensors")
    one_line(error, "vae 'gone.safetensors' was not found", "automatic")


@pytest.mark.parametrize("part, source, words", [
    ("text_encoder", f"vae/{VAE}", "the VAE of Wan 2.2"), ("vae", f"text_encoders/{UMT5}", "UMT5 with width 32"),
])  # fmt: skip
def test_a_part_of_another_kind_is_named(own_models, part, source, words):
    folder = {"text_encoder": "text_encoders", "vae": "vae"}[part]
    copyfile(own_models / source, own_models / folder / "wrong.safetensors")
    with pytest.raises(ValueError) as error:
        DuetLoadVideoExpert.execute(WAN, **{part: "wrong.safetensors"})
    one_line(error, f"holds {words}", "takes")


@pytest.mark.parametrize("options, words", [
    ({"precision": "fp8"}, "precision is fp8"), ({"vae": VAE}, f"vae is {VAE}"), ({"low_noise": WAN}, f"low_noise is {WAN}"),
])  # fmt: skip
def test_an_option_that_an_expert_does_not_have_is_refused(models, options, words):
    with pytest.raises(ValueError) as error:
        DuetLoadVideoExpert.execute("Bounce", **options)
    one_line(error, words, "which video_expert does not have; set")


def test_a_file_of_another_architecture_is_named(own_models):
    save_file({"x": torch.zeros(1)}, own_models / "duet" / "other.safetensors")
    refused = {"other.safetensors": "no model that Duet knows: 1 tensors", TANGOFLUX: "holds an audio model; use Load Audio Expert"}
    for name, words in refused.items():
        with pytest.raises(ValueError) as error:
            DuetLoadVideoExpert.execute(name)
        one_line(error, words)
    shown = DuetLoadVideoExpert.validate_inputs("wan2.1_t2v_1.3B_fp16.safetensors")
    assert "models/diffusion_models" in shown and "hf download Comfy-Org/Wan_2.1_ComfyUI_repackaged" in shown


def test_the_pair_is_woven_and_untrained(pair):
    model, shown = pair.args[0], pair.shown
    assert model.card["architecture"] == "AVFullDiT" and not model.trained and model.name == f"{WAN[:-12]} + TangoFlux"
    assert any("is untrained as a pair" in line for line in shown["duet"][0]["warnings"])
    assert f"joint blocks: the last {model.denoiser.joint_blocks} of both experts" in shown["text"]


def test_a_lora_is_applied_to_its_expert(own_models):
    (own_models / "loras").mkdir()
    key, strength = "diffusion_model.blocks.0.self_attn.q", 0.5
    down, up = torch.randn(2, 96), torch.randn(96, 2)
    save_file({f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}, own_models / "loras" / "style.safetensors")
    save_file({"x": torch.zeros(1)}, own_models / "loras" / "other.safetensors")
    video, audio = DuetLoadVideoExpert.execute(WAN).args[0], DuetLoadAudioExpert.execute(TANGOFLUX).args[0]
    output = DuetVideoExpertLora.execute(video, "style.safetensors", strength)
    assert output.shown["text"] == ["wan2.2_ti2v_5B_fp16 with style, strength 0.5"]
    layers = [join(expert, audio).args[0].denoiser.video.transformer.blocks[0].attn1.to_q for expert in (video, output.args[0])]
    x = torch.randn(1, 3, 96)
    with torch.no_grad():
        assert torch.allclose(layers[1](x), layers[0](x) + strength * x @ down.T @ up.T, atol=1e-4)
    assert DuetVideoExpertLora.execute(video, "style.safetensors", 0.0).args[0].options.loras == ()
    with pytest.raises(ValueError) as error:
        DuetAudioExpertLora.execute(audio, "other.safetensors", 1.0)
    one_line(error, "no model that Duet knows", "choose a LoRA")
    with pytest.raises(ValueError) as error:
        DuetVideoExpertLora.execute(DuetLoadVideoExpert.execute("Bounce").args[0], "style.safetensors", 1.0)
    one_line(error, "takes no LoRA")


def conditioning(width: int, length: int = 4) -> list:
    return [[torch.randn(1, length, width), {}]]


def test_conditioning_of_each_stream_goes_to_its_expert(pair):
    model = pair.args[0]
    output = DuetPromptsFromConditioning.execute(model, conditioning(32), conditioning(32))
    assert "audio_positive is not connected: empty words" in "\n".join(output.shown["text"])
    positive, _ = output.args[0].conditions(model, model.shape(seconds=0.2))
    own = DuetEncodePrompts.execute(model, "", "", "", "").args[0].conditions(model, model.shape(seconds=0.2))[0]
    assert torch.equal(positive.audio.tokens, own.audio.tokens) and not torch.equal(positive.video.tokens, own.video.tokens)
    both = DuetPromptsFromConditioning.execute(model, *(conditioning(32) for _ in range(4)))
    assert both.args[0].encoded[0].audio.tokens.shape[-1] == 32 and None not in both.args[0].embedded[0]
    for name, widths in (("positive", (7, 32, 32)), ("positive", (32, 32, 7))):
        with pytest.raises(ValueError) as error:
            DuetPromptsFromConditioning.execute(model, *map(conditioning, widths))
        one_line(error, name, "7", "32")


def test_a_text_encoder_of_comfyui_encodes_for_the_video(pair):
    model, clip = pair.args[0], FakeClip(width=32, pooled=None, names=("umt5xxl",))
    output = DuetEncodePrompts.execute(model, "a red ball", "a bell", "", "", clip=clip)
    assert any("encoded by clip as in training, for the video" in line for line in output.shown["text"])
    positive = output.args[0].encoded[0]
    own = DuetEncodePrompts.execute(model, "a red ball", "a bell", "", "").args[0].encoded[0]
    assert torch.equal(positive.audio.tokens, own.audio.tokens) and not torch.equal(positive.video.tokens, own.video.tokens)
    with pytest.raises(ValueError) as error:
        DuetEncodePrompts.execute(model, "a", "b", "", "", clip=FakeClip(width=32, pooled=None, names=("gemma",)))
    one_line(error, "clip is another text encoder", "UMT5")


def test_joint_layers_find_their_experts_among_the_users_files(own_models, pair, capsys):
    path, network = own_models / "duet" / "sync.safetensors", own_models / "diffusion_models"
    card = {"clip": CLIP, "name": "Sync"}
    save_joint_layers(path, pair.args[0].denoiser, network / WAN, own_models / "duet" / TANGOFLUX, card=card)
    (network / WAN).rename(network / "renamed.safetensors")
    output = DuetLoadJointModel.execute("sync.safetensors")
    model = output.args[0]
    assert model.trained and model.name == "Sync" and model.encode("a", "b").video.tokens.shape[-1] == 32
    chosen = join(DuetLoadVideoExpert.execute("renamed.safetensors").args[0], DuetLoadAudioExpert.execute(TANGOFLUX).args[0],
                  joint_layers="sync.safetensors")  # fmt: skip
    assert chosen.args[0].trained
    for trained in (output, chosen):  # the audio is as long as the video
        assert not any("30 s;" in line for line in trained.shown["text"]) and trained.args[0].audio_codec.stride.steps == 0
    assert any("Always generates 30 s;" in line for line in pair.shown["text"])
    assert main(["info", str(path)]) == 0 and "experts:" in capsys.readouterr().out
    (network / "renamed.safetensors").unlink()
    with pytest.raises(FileNotFoundError) as error:
        DuetLoadJointModel.execute("sync.safetensors")
    one_line(error, "the video expert Wan TI2V")
    with pytest.raises(ValueError) as error:
        DuetLoadJointModel.execute("sync.safetensors", lora="x.safetensors")
    one_line(error, "lora is x.safetensors, which sync.safetensors does not have")


def test_info_describes_an_expert(models, capsys):
    assert main(["info", str(models / "diffusion_models" / WAN), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["kind"], card["precision"], card["names"], card["head_size"]) == ("video_expert", "fp16", "original", 32)
    assert main(["info", str(models / "duet" / TANGOFLUX)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("TangoFlux: ") and "research only" in out and "head_size: 32" in out
