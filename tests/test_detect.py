"""What a file or folder is, read off its tensors."""

from __future__ import annotations

import json
from shutil import copytree

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderOobleck
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from duet_av.av_models.published.detect import detect, say_what
from duet_av.bounce.shipped import MODELS
from duet_av.commands import main

SMALL = {"d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 2, "vocab_size": 32}


def encoder(cls, config, **settings):
    return cls(config(**SMALL | {"d_model": 8} | settings))


def write(path, network):
    save_file({name: x.clone().half() for name, x in network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("make, model, kind", [
    (lambda: encoder(UMT5EncoderModel, UMT5Config), "UMT5 with width 8", "text_encoder"),
    (lambda: encoder(UMT5EncoderModel, UMT5Config, d_model=4096, d_ff=4), "UMT5-XXL", "text_encoder"),
    (lambda: encoder(T5EncoderModel, T5Config, d_model=768), "T5-base", "text_encoder"),
    (lambda: encoder(T5EncoderModel, T5Config, d_model=1024, feed_forward_proj="gated-gelu"), "T5 v1.1 or FLAN-T5 large",
     "text_encoder"),
    (lambda: AutoencoderKL(block_out_channels=(32,)), "an image VAE", "image_vae"),
    (lambda: AutoencoderOobleck(encoder_hidden_size=4, downsampling_ratios=[2, 2], channel_multiples=[1, 2], decoder_channels=4,
                                decoder_input_channels=2), "Oobleck, the VAE of Stable Audio and TangoFlux", "audio_vae"),
])  # fmt: skip
def test_encoders_and_vaes_are_known_by_their_tensors(make, model, kind, tmp_path):
    path = write(tmp_path / "renamed.safetensors", make())
    found = detect(path)
    assert (found.model, found.kind, found.precision) == (model, kind, "fp16")
    assert say_what(path).startswith(f"{model}, ") and "fp16, diffusers' names" in say_what(path)


def test_the_parts_of_a_published_model_are_known(small_ovi):
    names = {path.name: detect(path).model for path in small_ovi.glob("*.safetensors") if detect(path).kind.endswith("vae")}
    assert names["wan2.2_vae.safetensors"] == "the VAE of Wan 2.2"
    assert names["mmaudio_vae_16k_fp32.safetensors"] == "the VAE of MMAudio"
    assert detect(small_ovi / "text_encoder").model == "UMT5 with width 32"
    assert detect(small_ovi / "tokenizer").kind == "tokenizer" and detect(small_ovi).kind == "joint_model"


@pytest.mark.parametrize("key, model, names", [
    ("transformer.blocks.0.attn1.to_q.lora_A.weight", "", "diffusers"),
    ("diffusion_model.blocks.0.self_attn.q.lora_down.weight", "Wan", "comfyui"),
    ("lora_unet_blocks_0_self_attn_q.lora_down.weight", "Wan", "kohya"),
    ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "TangoFlux or Flux", "diffusers"),
])  # fmt: skip
def test_a_lora_is_known_with_its_model(key, model, names, tmp_path):
    save_file({key: torch.zeros(2, 4)}, tmp_path / "a.safetensors")
    found = detect(tmp_path / "a.safetensors")
    assert (found.kind, found.names) == ("lora", names) and found.model == (f"a LoRA of {model}" if model else "a LoRA")


def test_what_is_unknown_is_said_in_one_line(tmp_path):
    save_file({f"layer.{i}": torch.zeros(1) for i in range(3)}, tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (tmp_path / "empty.gguf").write_bytes(b"")
    said = {path.name: say_what(path) for path in tmp_path.iterdir()}
    assert all(detect(tmp_path / name) is None and "\n" not in line for name, line in said.items())
    assert said["other.safetensors"] == "no model that Duet knows: 3 tensors, such as layer.0, layer.1 and 1 more"
    assert "not a complete safetensors file" in said["damaged.safetensors"] and "a .ckpt file" in said["model.ckpt"]
    assert "FluxPipeline" in said["flux"] and "GGUF" in said["empty.gguf"]
    assert say_what(tmp_path / "gone") == "no file or folder"


def test_a_changed_file_is_read_again(tmp_path):
    path = write(tmp_path / "a.safetensors", encoder(T5EncoderModel, T5Config))
    assert detect(path).kind == "text_encoder"
    save_file({"other": torch.zeros(7)}, path)
    assert detect(path) is None


def test_info_says_what_a_file_is(tmp_path, capsys):
    path = write(tmp_path / "t5.safetensors", encoder(T5EncoderModel, T5Config))
    assert main(["info", str(path)]) == 0
    assert "T5 with width 8, 1" in capsys.readouterr().out
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["kind"], facts["precision"]) == ("T5 with width 8", "text_encoder", "fp16") and facts["bytes"] > 0
    save_file({"x": torch.zeros(1)}, path)
    assert main(["info", str(path)]) == 2
    assert "no model that Duet knows: 1 tensors" in capsys.readouterr().err


def test_a_file_of_duet_is_known():
    found = detect(MODELS / "video_expert.safetensors")
    assert found.kind == "video_expert" and "of Duet" in found.model and found.parameters > 10**6


def test_an_image_checkpoint_is_no_text_encoder(tmp_path):
    names = (
        "model.diffusion_model.out.2.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
    )
    save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "sd15.safetensors")
    assert detect(tmp_path / "sd15.safetensors") is None and "no model that Duet knows" in say_what(tmp_path / "sd15.safetensors")


def test_a_link_that_leads_nowhere_hides_no_model(small_tangoflux, tmp_path):
    folder = copytree(small_tangoflux, tmp_path / "TangoFlux")
    (folder / "README.md").symlink_to("nowhere")
    assert detect(folder).model == "TangoFlux"


def test_info_names_the_damaged_file_and_other_formats(small_wan, tmp_path, capsys):
    folder = copytree(small_wan, tmp_path / "wan")
    damaged = next((folder / "transformer").glob("*.safetensors"))
    damaged.write_bytes(b"")
    (tmp_path / "model.ckpt").write_bytes(b"PK" * 9)
    for path, words in (
        (folder, f"{damaged} is not a complete safetensors file"),
        (tmp_path / "model.ckpt", "a .ckpt file, which"),
    ):
        assert main(["info", str(path)]) == 2
        assert words in (error := capsys.readouterr().err) and error.count("\n") == 1
