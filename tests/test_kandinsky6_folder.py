"""Folders of Kandinsky 6: what is said about them, what they load as, and what is wrong with damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import torch
from diffusers import AutoencoderKL

from duet_av.av_models.contract import FULL, AVTime, denoise
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.published.joint import LoadOptions, describe, family_files, find_family
from duet_av.av_models.published.joint.kandinsky6 import SIZES
from duet_av.benchmarks.small_models.__main__ import main
from duet_av.tests.kandinsky6 import WORDS, draw_noise

KEPT_IN_FLOAT32 = ("time_embeddings", "modulation")


@pytest.fixture
def broken(small_kandinsky6, tmp_path) -> Path:
    """A copy of the folder, to break."""
    return copytree(small_kandinsky6, tmp_path / "k6")


def refused(run, *words: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind) as error:
        run()
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_folder_says_what_it_is(small_kandinsky6, small_kandinsky6_distilled):
    card, distilled = describe(small_kandinsky6), describe(small_kandinsky6_distilled)
    assert (card["name"], card["licence"], card["trained"], card["needs"]) == ("Kandinsky 6", "MIT", True, [])
    assert card["parameters"] == sum(p.numel() for p in load_joint_model(small_kandinsky6).denoiser.parameters())
    assert 500_000 < card["bytes"] < 5_000_000 and "a first frame" in card["capabilities"]
    assert distilled["name"] == "Kandinsky 6 distilled" and "no guidance" in distilled["capabilities"]
    assert (
        card["notes"][0] == "Not tried with published weights yet." and find_family(small_kandinsky6) == "Kandinsky6TI2VAPipeline"
    )
    assert small_kandinsky6 / "scheduler" / "scheduler_config.json" in family_files(small_kandinsky6)


def test_the_small_model_is_written_by_its_command(small_kandinsky6, tmp_path, monkeypatch, capsys):
    def written(*arguments: str) -> bytes:
        monkeypatch.setattr("sys.argv", ["small_models", "kandinsky6", str(tmp_path / "k6"), *arguments])
        main()
        return sorted((tmp_path / "k6" / "transformer").glob("*.safetensors"))[0].read_bytes()

    same = sorted((small_kandinsky6 / "transformer").glob("*.safetensors"))[0].read_bytes()
    assert written() == same != written("--seed", "1") and str(tmp_path / "k6") in capsys.readouterr().out
    assert sum(file.stat().st_size for file in (tmp_path / "k6").rglob("*") if file.is_file()) < 5e6
    monkeypatch.setattr("sys.argv", ["small_models", "ovi", str(tmp_path), "--distilled"])
    with pytest.raises(SystemExit):
        main()
    assert "--distilled is for kandinsky6, not for ovi" in capsys.readouterr().err


@pytest.mark.parametrize("parameters, name", [(3e9, "Kandinsky 6 Lite"), (29e9, "Kandinsky 6 Pro")])
def test_lite_and_pro_are_told_apart_by_their_size(small_kandinsky6, monkeypatch, parameters, name):
    monkeypatch.setattr("duet_av.av_models.published.joint.kandinsky6.count_parameters", lambda folder, part: parameters)
    assert describe(small_kandinsky6)["name"] == name and len(SIZES) == 2


def test_a_model_without_the_token_type_of_a_picture_takes_none(broken):
    change(broken / "transformer" / "config.json", visual_token_type_num_embeddings=0)
    assert "a first frame" not in describe(broken)["capabilities"]
    assert not load_joint_model(broken).denoiser.takes_first_frame


def test_text_encoders_are_loaded_when_first_needed(small_kandinsky6):
    model = load_joint_model(small_kandinsky6)
    encoder = model.conditioner._encode
    assert "encoders" not in vars(encoder)
    first = model.encode(WORDS, "")
    assert "encoders" in vars(encoder) and model.encode(WORDS, "").video.tokens is not None
    assert not any("conditioner" in name for name, _ in model.networks.named_parameters())
    assert torch.equal(first.video.tokens, model.encode("", WORDS).audio.tokens)
    assert "<S>" in model.conditioner.prompt_help


def test_a_folder_loads_where_transformers_has_hidden_linspace_from_the_meta_device(small_kandinsky6, monkeypatch):
    """transformers 5 replaces torch.linspace while it builds a network. If torch looks for its constructors then, it keeps that."""
    seen = frozenset(torch.utils._device._device_constructors()) - {torch.linspace}
    monkeypatch.setattr(torch.utils._device, "_device_constructors", lambda: seen)
    assert load_joint_model(small_kandinsky6).audio_codec.sample_rate == 44100


def test_without_text_encoders_the_model_loads_and_takes_embeddings(broken):
    rmtree(broken / "text_encoder")
    rmtree(broken / "tokenizer_2")
    needs = ["Qwen2.5-VL (folder text_encoder)", "tokenizer of CLIP (folder tokenizer_2)"]
    assert describe(broken)["needs"] == needs
    model = load_joint_model(broken)
    refused(
        lambda: model.encode(WORDS, ""), *needs, "download the whole repository, or connect clip of Prompts for Video and Audio",
        kind=FileNotFoundError,
    )  # fmt: skip
    cond = model.conditioner.from_embeddings(torch.randn(1, 9, 16), None, torch.randn(1, 12))
    assert cond.video.mask.all() and cond.audio.tokens.shape == (1, 9, 16)
    time = torch.ones(1)
    assert denoise(model.denoiser, draw_noise(model), AVTime(time, time), cond, [FULL]).video.isfinite().all()


def test_embeddings_of_other_encoders_are_refused(small_kandinsky6):
    from_embeddings = load_joint_model(small_kandinsky6).conditioner.from_embeddings
    tokens, pooled = torch.randn(1, 9, 16), torch.randn(1, 12)
    refused(lambda: from_embeddings(tokens[..., :5], None, pooled), "5 wide, and Kandinsky 6 needs 16; encode with DualCLIPLoader")
    refused(lambda: from_embeddings(tokens, None, None), "has no pooled embedding, and Kandinsky 6 needs 12")
    refused(lambda: from_embeddings(tokens, None, pooled[:, :7]), "has a 7 wide pooled embedding")


def test_a_missing_shard_is_named(broken):
    shard = sorted((broken / "transformer").glob("*.safetensors"))[1]
    shard.unlink()
    assert describe(broken)["needs"] == [f"transformer (transformer/{shard.name})"]
    refused(lambda: load_joint_model(broken), str(shard), "is missing", kind=FileNotFoundError)


def test_a_shard_that_is_cut_short_is_named(broken):
    shard = sorted((broken / "transformer").glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:5000])
    refused(lambda: load_joint_model(broken), str(shard))


@pytest.mark.parametrize("part", ["transformer", "vae", "audio_vae", "vocoder", "scheduler"])
def test_a_missing_part_is_named(broken, part):
    rmtree(broken / part)
    assert describe(broken)["needs"] and f"folder {part}" in describe(broken)["needs"][0]
    refused(lambda: load_joint_model(broken), f"has no folder {part}", "download the whole repository", kind=FileNotFoundError)


def test_another_pipeline_or_class_is_named(broken):
    AutoencoderKL().save_pretrained(broken / "vae")
    refused(lambda: load_joint_model(broken), "vae holds AutoencoderKL; use a folder with AutoencoderKLHunyuanVideo")
    change(broken / "model_index.json", _class_name="Kandinsky5T2VPipeline")
    refused(lambda: load_joint_model(broken), "holds Kandinsky5T2VPipeline; use a folder of Kandinsky6TI2VAPipeline")


def test_a_config_of_a_newer_diffusers_is_named(broken):
    change(broken / "transformer" / "config.json", _diffusers_version="9.9.0", sparse_attention=True)
    refused(lambda: load_joint_model(broken), "transformer/config.json", "sparse_attention", "9.9.0", "diffusers")


def test_settings_that_do_not_fit_the_weights_are_named(broken):
    change(broken / "transformer" / "config.json", model_dim=64)
    refused(lambda: load_joint_model(broken), "transformer cannot be loaded as Kandinsky6Transformer3DModel")


def test_a_codec_of_another_width_is_named(broken, tmp_path):
    from diffusers import MMAudioVAE

    from duet_av.benchmarks.small_models.kandinsky6 import AUDIO_VAE

    MMAudioVAE(**AUDIO_VAE | {"latent_channels": 5}).save_pretrained(broken / "audio_vae")
    refused(lambda: load_joint_model(broken), "audio_vae has 5 channels, and the transformer 6; download both again")


def test_a_scheduler_of_another_kind_is_named(broken):
    change(broken / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")
    refused(
        lambda: load_joint_model(broken), "scheduler holds 'DDIMScheduler'; use a folder with FlowMatchEulerDiscreteScheduler or"
    )


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"dtype": "bfloat16", "quantize": "fp8"}])
def test_another_precision_is_close(small_kandinsky6, options):
    full, other = load_joint_model(small_kandinsky6), load_joint_model(small_kandinsky6, LoadOptions(**options))
    time, noise = torch.full((1,), 0.5), draw_noise(full)
    outs = [denoise(m.denoiser, noise, AVTime(time, time), m.encode(WORDS, ""), [FULL]) for m in (other, full)]
    assert (outs[0].video - outs[1].video).norm() < 0.2 * outs[1].video.norm()
    stored = {p.dtype for p in other.denoiser.parameters()}
    assert (torch.float8_e4m3fn in stored) == ("quantize" in options) and torch.float32 in stored
    assert next(other.conditioner._encode.encoders[0].parameters()).dtype == torch.bfloat16


def test_weights_in_half_precision_keep_what_must_be_exact_and_give_float32(broken):
    from diffusers import Kandinsky6Transformer3DModel

    network = Kandinsky6Transformer3DModel.from_pretrained(broken / "transformer", torch_dtype=torch.bfloat16)
    for file in (broken / "transformer").glob("*.safetensors*"):
        file.unlink()
    network.save_pretrained(broken / "transformer")
    half, full = (load_joint_model(broken, LoadOptions(keep_dtype=keep)) for keep in (True, False))
    exact = {name for name, p in half.denoiser.named_parameters() if p.dtype == torch.float32}
    assert exact and all(any(part in name for part in KEPT_IN_FLOAT32) for name in exact)
    assert half.denoiser.transformer.dtype == torch.bfloat16
    time, noise = torch.full((1,), 0.5), draw_noise(full)
    outs = [denoise(m.denoiser, noise, AVTime(time, time), m.encode(WORDS, ""), [FULL]) for m in (half, full)]
    assert (outs[0].video - outs[1].video).norm() < 0.05 * outs[1].video.norm()
    frames, sound = half.decode(noise, half.shape(frames=9, height=32, width=48))
    assert frames.dtype == sound.dtype == torch.float32
