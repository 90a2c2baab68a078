"""Wan's published files: of every kind the same weights, known by their shapes, and named in one line where they are wrong."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from safetensors.torch import load_file, save_file
from transformers import T5TokenizerFast

from duet_av.av_models.codecs.wan_vae import WanCodec
from duet_av.av_models.contract import Condition
from duet_av.av_models.experts.wan_stages import WanStages
from duet_av.av_models.joining import join_experts
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.published import wan_vae_file
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert, wan
from duet_av.av_models.published.experts.wan_config import MODELS, config_of, model_of
from duet_av.av_models.published.experts.wan_files import Network
from duet_av.av_models.published.experts.wan_load import loras_for
from duet_av.av_models.published.experts.wan_names import MARKS, diffusers_name, original_name
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import is_published, load_published, published_card, published_files
from duet_av.av_models.published.sentencepiece_file import make_tokenizer, parse
from duet_av.benchmarks.small_models import ovi
from duet_av.benchmarks.small_models import wan as small

SIZES = {
    "Wan 2.1 T2V-1.3B": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "Wan 2.1 T2V-14B": {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "Wan 2.2 TI2V-5B": {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48},
}
HIGH, LOW = "wan2.2_t2v_high_noise_14B_fp16.safetensors", "wan2.2_t2v_low_noise_14B_fp16.safetensors"
BF16 = ExpertOptions(dtype="bfloat16")


@pytest.fixture(scope="module")
def network() -> WanTransformer3DModel:
    return small.transformer("ti2v", seed=7)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> ExpertOptions:
    """The text encoder and the VAE in ComfyUI's files."""
    models = tmp_path_factory.mktemp("models")
    small.write_text_encoder(models / small.TEXT_ENCODER)
    for size in ("ti2v", "t2v"):
        small.write_vae(models / small.VAES[size], size)
    return ExpertOptions(text_encoder=models / small.TEXT_ENCODER, vae=models / small.VAES["ti2v"])


def t2v_parts(parts: ExpertOptions) -> ExpertOptions:
    assert parts.vae is not None
    return replace(parts, vae=parts.vae.parent.parent / small.VAES["t2v"])


def weights(path: Path, options: ExpertOptions) -> dict[str, torch.Tensor]:
    return load_published(path, "video", options).expert.transformer.state_dict()


# Names and configurations


def test_original_names_are_those_that_diffusers_converts(network):
    own = list(network.state_dict())
    converted = convert_wan_transformer_to_diffusers({original_name(name): torch.zeros(1) for name in own})
    assert converted.keys() == set(own)
    for name in own:
        assert diffusers_name(name) == diffusers_name(original_name(name)) == name
        assert diffusers_name(f"model.diffusion_model.{original_name(name)}") == name


@pytest.mark.parametrize("name", SIZES)
def test_published_models_are_known_by_their_shapes(name):
    with init_empty_weights():
        full = WanTransformer3DModel(**SIZES[name])
    shapes = {diffusers_name(original_name(key)): tuple(x.shape) for key, x in full.state_dict().items()}
    config = config_of(shapes, Path("file"))
    assert {key: full.config[key] if key != "patch_size" else (1, 2, 2) for key in config} == config
    model = model_of(config)
    assert model.name == name and model in MODELS.values()
    expected = {"Wan 2.1 T2V-1.3B": 1.42e9, "Wan 2.1 T2V-14B": 14.3e9, "Wan 2.2 TI2V-5B": 5.0e9}[name]
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == pytest.approx(expected, rel=0.01)


# Files of every kind


@pytest.mark.parametrize("precision", small.PRECISIONS)
@pytest.mark.parametrize("names", small.NAMES)
def test_files_with_all_names_and_precisions_have_the_same_weights(network, parts, tmp_path, names, precision):
    file = tmp_path / "any.safetensors"
    small.write_network(file, network, names, precision)
    found = find_expert(file)
    assert (found.model, found.family, found.names, found.precision) == ("Wan TI2V (2 blocks of width 96)", "wan", names, precision)
    assert found.parameters == sum(x.numel() for x in network.state_dict().values())
    stored = small.PRECISIONS[precision]
    for name, x in weights(file, parts).items():
        assert x.dtype == torch.float32 and torch.equal(x, network.state_dict()[name].to(stored).float())
    card = published_card(file, parts)
    assert ("fp8 without scales" in card["notes"]) == (precision == "fp8") and card["needs"] == [] and card["given"] == "frames"
    assert (card["blocks"], card["heads"], card["head_size"]) == (2, 3, 32)


@pytest.mark.parametrize("precision", [small.SCALED, small.NEWER_SCALED])
@pytest.mark.parametrize("names", ["original", "comfyui"])
def test_scaled_8_bit_files_are_stored_times_scale(network, parts, tmp_path, names, precision):
    file = tmp_path / "any.safetensors"
    small.write_network(file, network, names, precision)
    assert find_expert(file).precision == "scaled fp8 and fp16" and find_expert(file).names == "comfyui"
    own = load_file(file)
    for name, x in weights(file, parts).items():
        stem = small.NAMES[names](name).removesuffix(".weight")
        scale = own.get(f"{stem}.scale_weight", own.get(f"{stem}.weight_scale"))
        stored = own[small.NAMES[names](name)].float()
        assert torch.equal(x, stored if scale is None else stored * scale)
        assert (x - network.state_dict()[name]).norm() <= 0.04 * network.state_dict()[name].norm()


@pytest.mark.parametrize("place", ["", "transformer"])
def test_shards_and_folders_have_the_same_weights(network, parts, tmp_path, place):
    small.write_shards(tmp_path / place, network, "diffusers" if place else "original", 3)
    if place:
        (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    for name, x in weights(tmp_path, parts).items():
        assert torch.equal(x, network.state_dict()[name])
    files = {file for file in tmp_path.rglob("*.safetensors") if file.is_file()}
    assert files <= set(published_files(tmp_path, parts))


def test_a_folder_of_diffusers_is_loaded_as_it_was_saved(small_wan):
    loaded = load_published(small_wan, "video")
    whole = WanTransformer3DModel.from_pretrained(small_wan, subfolder="transformer").state_dict()
    assert all(torch.equal(x, whole[name]) for name, x in loaded.expert.transformer.state_dict().items())
    assert type(loaded.scheduler).__name__ == "UniPCMultistepScheduler" and loaded.scheduler.config.flow_shift == 5
    assert (loaded.clip, loaded.sampling) == (MODELS[30, 3072, 48].clip, {"steps": 50, "scale": 5.0})
    assert loaded.default_negative.startswith("色调艳丽") and len(loaded.default_negative) == 137
    assert {file for file in small_wan.rglob("*") if file.is_file()} == set(published_files(small_wan))


def test_ti2v_as_the_pipeline_for_images_is_the_same(small_wan, tmp_path):
    folder = Path(shutil.copytree(small_wan, tmp_path / "wan"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanImageToVideoPipeline"}))
    assert find_expert(folder) == find_expert(small_wan) and published_card(folder)["given"] == "frames"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_layers_that_diffusers_keeps_in_float32_stay_so(network, parts, tmp_path, dtype):
    small.write_network(tmp_path / "any.safetensors", network, "original", "fp32")
    expert = load_published(tmp_path / "any.safetensors", "video", replace(parts, dtype=dtype)).expert
    network.save_pretrained(tmp_path / "saved")
    own = WanTransformer3DModel.from_pretrained(tmp_path / "saved", torch_dtype=getattr(torch, dtype))
    own_state = own.state_dict()
    for name, x in expert.transformer.state_dict().items():
        assert x.dtype == own_state[name].dtype and torch.equal(x, own_state[name])
    latent, text = torch.randn(1, 48, 2, 2, 2), Condition(torch.randn(1, 4, 32), torch.ones(1, 4, dtype=torch.bool))
    assert expert(latent, torch.tensor([0.5]), text).dtype == torch.float32


def test_weights_in_8_bits_stay_so(network, parts, tmp_path):
    small.write_network(tmp_path / "fp8.safetensors", network, "original", "fp8")
    small.write_network(tmp_path / "fp16.safetensors", network, "original", "fp16")
    latent, t = torch.randn(1, 48, 2, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0.5])
    text = Condition(torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2)), torch.ones(1, 4, dtype=torch.bool))
    kept = load_published(tmp_path / "fp8.safetensors", "video", replace(parts, keep_dtype=True)).expert
    asked = load_published(tmp_path / "fp16.safetensors", "video", replace(parts, dtype="bfloat16", quantize="fp8")).expert
    plain = load_published(tmp_path / "fp8.safetensors", "video", replace(parts, dtype="bfloat16")).expert
    for expert in (kept, asked):
        types = {name: x.dtype for name, x in expert.transformer.state_dict().items()}
        assert types["blocks.0.attn1.to_q.weight"] == torch.float8_e4m3fn and types["patch_embedding.weight"] == torch.bfloat16
        assert types["blocks.0.scale_shift_table"] == torch.float32
    assert torch.equal(kept(latent, t, text), plain(latent, t, text))
    assert torch.allclose(asked(latent, t, text), plain(latent, t, text), atol=0.1)


# GGUF


@pytest.fixture(scope="module")
def gguf_file(network, tmp_path_factory) -> Path:
    pytest.importorskip("gguf")
    file = tmp_path_factory.mktemp("gguf") / "Wan2.2-TI2V-5B-Q8_0.gguf"
    small.write_gguf(file, network)
    return file


def test_gguf_files_are_computed_as_their_dequantized_weights(network, parts, gguf_file):
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    found = find_expert(gguf_file)
    assert (found.model, found.names, found.precision) == ("Wan TI2V (2 blocks of width 96)", "original", "GGUF Q8_0")
    assert found.parameters == sum(x.numel() for x in network.state_dict().values())
    expert, own = load_published(gguf_file, "video", parts).expert, small.transformer("ti2v", seed=7)
    stored = dict(expert.transformer.named_parameters())
    for name, x in own.state_dict().items():
        found = dequantize_gguf_tensor(stored[name]).float()
        assert (found - x).norm() <= 0.01 * x.norm() and torch.equal(found, x) == (stored[name].dtype == torch.float32)
        x.copy_(found)
    x, t, text = torch.randn(1, 48, 2, 2, 2), torch.tensor([0.5]), torch.randn(1, 512, 32)
    theirs = own(x, t * 1000, text, return_dict=False)[0]
    ours = expert(x, t, Condition(text, torch.ones(1, 512, dtype=torch.bool)))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    half = load_published(gguf_file, "video", replace(parts, keep_dtype=True)).expert
    assert half.transformer.patch_embedding.weight.dtype == torch.bfloat16
    assert half.transformer.blocks[0].attn1.to_q.weight.dtype == torch.uint8


def test_gguf_files_with_four_dimensions_at_most(network, gguf_file, parts, tmp_path):
    small.write_gguf(tmp_path / "a.gguf", network, dimensions=4)
    found = weights(tmp_path / "a.gguf", parts)
    assert all(torch.equal(x, found[name]) for name, x in weights(gguf_file, parts).items())


def test_without_the_package_gguf_one_line_says_so(gguf_file, monkeypatch):
    monkeypatch.setattr(f"{wan.__name__}_gguf.find_spec", lambda name: None)
    assert is_published(gguf_file)
    with pytest.raises(ValueError, match="the package gguf is not installed, which reads GGUF files; install it with pip install"):
        load_published(gguf_file, "video")


def test_a_damaged_gguf_file_is_no_wan(gguf_file, tmp_path):
    (tmp_path / "a.gguf").write_bytes(gguf_file.read_bytes()[:200])
    assert find_expert(tmp_path / "a.gguf") is None
    with pytest.raises(ValueError, match="is quantized already, and quantize is fp8; use one of the two"):
        load_published(gguf_file, "video", ExpertOptions(quantize="fp8", codec=WanCodec(**small.vae_config("ti2v"))))


# A14B


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a14b")
    for number, name in enumerate((HIGH, LOW)):
        small.write_network(folder / name, small.transformer("a14b", seed=number))
    return folder


def test_the_two_networks_of_a14b_are_one_expert(halves, parts, tmp_path):
    options = replace(t2v_parts(parts), low_noise=halves / LOW)
    for name, folder in ((HIGH, "high_noise_model"), (LOW, "low_noise_model")):
        (tmp_path / folder).mkdir()
        shutil.copy(halves / name, tmp_path / folder / "diffusion_pytorch_model.safetensors")
    for path, chosen in ((halves / HIGH, options), (tmp_path, t2v_parts(parts))):
        loaded = load_published(path, "video", chosen)
        assert isinstance(loaded.expert, WanStages) and loaded.expert.boundary == 0.875
        for expert, seed in ((loaded.expert.high, 0), (loaded.expert.low, 1)):
            wanted = small.transformer("a14b", seed).state_dict()
            assert all(torch.equal(x, wanted[name].half().float()) for name, x in expert.transformer.state_dict().items())
        assert loaded.card["name"] == "Wan 2.2 T2V-A14B" and (loaded.card["blocks"], loaded.card["needs"]) == (0, [])
        assert loaded.sampling == {"steps": 40, "scale": 4.0} and loaded.scheduler.config.flow_shift == 12
    assert find_expert(halves / HIGH).model == "Wan 2.2 T2V-A14B (high noise)"


def test_loras_of_a14b_are_for_the_network_in_their_names():
    names = {
        "Wan22_A14B_T2V_HIGH_Lightning_rank128_fp16": "high", "lora_v1.1_low_noise": "low", "lowNoise-a": "low", "style": "",
        "my-low-rank": "", "highlight": "", "glow": "", "a_low": "low", "high_quality_v1": "", "low-light": "", "HIGH-motion": "",
        "rank64_lowrank": "", "wan_HIGH_Lightning": "high",
    }  # fmt: skip
    options = ExpertOptions(loras=tuple((Path(f"{name}.safetensors"), 1.0) for name in names))
    for half in ("high", "low", ""):
        wanted = [name for name, own in names.items() if not half or own in ("", half)]
        assert [path.stem for path, _ in loras_for(options, half)] == wanted


def test_half_of_a14b_is_refused_in_one_line(halves, parts, network, tmp_path):
    chosen = t2v_parts(parts)
    assert any("low noise" in need for need in published_card(halves / HIGH, chosen)["needs"])
    for path, low, words in (
        (HIGH, None, "network for high noise and needs its network for low noise"),
        (LOW, None, "network for low noise; load the one for high noise"),
        (LOW, halves / HIGH, "choose the one for high noise as the expert, and the one for low noise as low_noise"),
        (HIGH, tmp_path / "none.safetensors", "holds no transformer of Wan; use Wan 2.2 A14B's network for low noise"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
            load_published(halves / path, "video", replace(chosen, low_noise=low))
        assert "\n" not in str(error.value)
    other = tmp_path / "other.safetensors"
    small.write_network(other, network)
    with pytest.raises(ValueError, match="2 blocks of width 96 and 16 channels, but .* 48 channels; use the two networks"):
        load_published(halves / HIGH, "video", replace(chosen, low_noise=other))
    with pytest.raises(ValueError, match="is Wan TI2V .*, which has one network; leave it out"):
        load_published(other, "video", replace(parts, low_noise=other))


# Files that are wrong


OTHERS = {
    "vace_patch_embedding.weight": "Wan VACE of width 96, which needs control videos",
    "img_emb.proj.1.weight": "Wan I2V of width 96, which needs an image encoder and the image beside the noise",
    "face_adapter.fuser_blocks.0.k_norm.weight": "Wan Animate of width 96, which needs a video of the motion",
    "casual_audio_encoder.encoder.final_linear.weight": "Wan S2V of width 96, which needs the sound of a voice",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_of_wan_are_named_and_refused(network, tmp_path, name):
    file = tmp_path / "any.safetensors"
    save_file(small.named_tensors(network, "original", "fp16") | {name: torch.zeros(2)}, file)
    assert OTHERS[name].startswith(find_expert(file).model)
    with pytest.raises(ValueError, match=f"is {re.escape(OTHERS[name])}.*; use T2V, or Wan 2.2 TI2V-5B"):
        load_published(file, "video")


def test_a_network_with_more_channels_is_named_and_refused(tmp_path):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(small.transformer("t2v"), "comfyui", "fp16")
    tensors["model.diffusion_model.patch_embedding.weight"] = torch.zeros(96, 36, 1, 2, 2)
    save_file(tensors, file)
    with pytest.raises(ValueError, match="Wan I2V or Fun of width 96, which needs 36 channels: an image or control videos"):
        load_published(file, "video")


@pytest.mark.parametrize("precision, end", [(small.SCALED, ".scale_weight"), (small.NEWER_SCALED, ".weight_scale")])
def test_an_8_bit_file_without_a_scale_is_refused(network, parts, tmp_path, precision, end):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(network, "original", precision)
    save_file({name: x for name, x in tensors.items() if name != f"blocks.1.ffn.0{end}"}, file)
    with pytest.raises(
        ValueError, match="blocks.1.ffn.0.weight is in 8 bits and has no scale, such as blocks.1.ffn.0.weight_scale"
    ):
        load_published(file, "video", parts)
    assert any("blocks.1.ffn.0.weight is in 8 bits and has no scale" in note for note in published_card(file, parts)["notes"])


@pytest.mark.parametrize("change", ["4 bits", "blocks"])
def test_other_formats_of_comfyui_are_refused(network, parts, tmp_path, change):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(network, "original", small.NEWER_SCALED)
    part = "weight" if change == "4 bits" else "weight_scale"
    tensors[f"blocks.1.ffn.0.{part}"] = torch.zeros(64, 48, dtype=torch.uint8)
    save_file(tensors, file)
    with pytest.raises(ValueError, match="blocks.1.ffn.0.weight is in a format that Duet does not read; use a file in fp8"):
        load_published(file, "video", parts)


def test_scales_of_rows(network, parts, tmp_path):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(network, "original", small.NEWER_SCALED)
    rows = torch.rand(64, generator=torch.Generator().manual_seed(1))
    save_file(tensors | {"blocks.1.ffn.0.weight_scale": rows}, file)
    wanted = tensors["blocks.1.ffn.0.weight"].float() * rows[:, None]
    assert torch.equal(weights(file, parts)["blocks.1.ffn.net.0.proj.weight"], wanted)


def test_missing_and_mixed_shards_are_refused(network, parts, tmp_path):
    small.write_shards(tmp_path, network, "original", 3)
    absent = next(file for file in sorted(tmp_path.glob("*.safetensors")) if MARKS["original"] not in load_file(file))
    whole = absent.read_bytes()
    save_file({name: x.half() for name, x in load_file(absent).items()}, absent)
    with pytest.raises(ValueError, match="is fp(32|16) and .* is fp(16|32); download both from one repository"):
        load_published(tmp_path, "video", parts)
    absent.unlink()
    for _ in range(2):
        assert is_published(tmp_path)
        with pytest.raises(FileNotFoundError, match=f"{absent.name} is missing"):
            load_published(tmp_path, "video", parts)
        (tmp_path / "diffusion_pytorch_model.safetensors.index.json").unlink(missing_ok=True)
    absent.write_bytes(whole)
    load_published(tmp_path, "video", parts)


def test_an_incomplete_file_is_refused(network, parts, tmp_path):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(network, "original", "fp16")
    save_file({name: x for name, x in tensors.items() if "blocks.1.ffn.2" not in name}, file)
    with pytest.raises(ValueError, match="lacks 2 tensors of WanTransformer3DModel, such as blocks.1.ffn.2.bias and 1 more"):
        load_published(file, "video", parts)
    file.write_bytes(file.read_bytes()[:1000])
    assert find_expert(file) is None


def test_a_file_that_claims_many_blocks_is_refused(network, parts, tmp_path):
    file, tensors = tmp_path / "any.safetensors", small.named_tensors(network, "original", "fp16")
    save_file(tensors | {"blocks.1000000000.modulation": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="lacks tensors of Wan, such as 'blocks.2'; download it again"):
        load_published(file, "video", parts)


def test_foreign_files_are_no_wan(small_ovi, parts, tmp_path):
    save_file({"blocks.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "text.txt").write_text("a")
    for path in (small_ovi, small_ovi / ovi.MODEL, tmp_path, tmp_path / "other.safetensors", tmp_path / "text.txt", parts.vae):
        assert find_expert(path) is None


# The other parts


def test_missing_parts_are_named(network, parts, tmp_path):
    small.write_network(tmp_path / "any.safetensors", network)
    card = published_card(tmp_path / "any.safetensors")
    assert [any(word in need for need in card["needs"]) for word in ("text encoder", "VAE", "tokenizer")] == [True] * 3
    with pytest.raises(FileNotFoundError, match="needs the VAE of Wan 2.2 .*; download it to models/vae, or connect video_vae"):
        load_published(tmp_path / "any.safetensors", "video")
    loaded = load_published(tmp_path / "any.safetensors", "video", replace(parts, text_encoder=None))
    with pytest.raises(FileNotFoundError, match="needs the text encoder .* and the tokenizer .*, or connect clip of Prompts for"):
        loaded.conditioner.condition("a", None, None)
    with pytest.raises(ValueError, match="has latents of 16 channels, but .* needs 48; use the VAE of Wan 2.2"):
        load_published(tmp_path / "any.safetensors", "video", t2v_parts(parts))
    shutil.copy(parts.vae, tmp_path)
    small.write_text_encoder(tmp_path / "umt5.safetensors")
    assert published_card(tmp_path / "any.safetensors")["needs"] == []


def test_a_vae_of_comfyui_is_taken_in_place_of_the_file(network, parts, tmp_path):
    small.write_network(tmp_path / "any.safetensors", network)
    codec = WanCodec(**small.vae_config("ti2v"))
    assert load_published(tmp_path / "any.safetensors", "video", replace(parts, vae=None, codec=codec)).codec is codec


@pytest.mark.parametrize("size", ["ti2v", "t2v"])
def test_vaes_of_every_kind_have_the_same_weights(tmp_path, size):
    own = small.video_vae(size, seed=3)
    for names in ("original", "diffusers"):
        small.write_vae(tmp_path / names, size, 3, names)
        found = wan_vae_file.load_wan_vae(tmp_path / names, torch.float32)
        assert found.config.z_dim == own.config.z_dim and found.config.latents_mean == own.config.latents_mean
        assert all(torch.equal(x, own.state_dict()[name].half().float()) for name, x in found.state_dict().items())
    if size == "t2v":
        assert convert_wan_vae_to_diffusers(load_file(tmp_path / "original")).keys() == own.state_dict().keys()


def test_the_tokenizer_in_a_text_encoders_file(parts, tmp_path):
    own, found = ovi.t5_tokenizer(), make_tokenizer(parse(small.sentencepiece_model()))
    assert isinstance(own, T5TokenizerFast) and len(found) == len(own)
    for words in ("a red ball", "", "  two   spaces, é and 球", "x" * 600):
        for options in ({}, {"padding": "max_length", "max_length": 40, "truncation": True}):
            theirs, ours = own(words, **options), found(words, **options)
            unknown = own.convert_tokens_to_ids("<unk>"), own.unk_token_id
            assert ours["attention_mask"] == theirs["attention_mask"] and unknown[0] == unknown[1]
            assert [2 if each == 3 else each for each in ours["input_ids"]] == [2 if e == 3 else e for e in theirs["input_ids"]]
    small.write_text_encoder(tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    save_file(tensors | {"spiece_model": tensors["spiece_model"][:-3]}, tmp_path / "a.safetensors")
    small.write_network(tmp_path / "b.safetensors", small.transformer())
    loaded = load_published(tmp_path / "b.safetensors", "video", replace(parts, text_encoder=tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="spiece_model is not a SentencePiece model; download the file again"):
        loaded.conditioner.condition("a", None, None)


def test_a_scaled_text_encoder_without_a_scale_is_refused(network, parts, tmp_path):
    name, tensors = "encoder.block.0.layer.0.SelfAttention.q", load_file(parts.text_encoder)
    scaled = {
        f"{name}.weight": (tensors[f"{name}.weight"] / 0.5).to(torch.float8_e4m3fn),
        f"{name}.scale_weight": torch.tensor(0.5),
    }
    tensors |= scaled | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    small.write_network(tmp_path / "any.safetensors", network)
    for given in (tensors, {key: x for key, x in tensors.items() if "scale_weight" not in key}):
        save_file(given, tmp_path / "umt5.safetensors")
        loaded = load_published(tmp_path / "any.safetensors", "video", replace(parts, text_encoder=tmp_path / "umt5.safetensors"))
        if given is tensors:
            encoder = loaded.conditioner._encode.__self__.pipeline.text_encoder
            assert torch.equal(encoder.get_parameter(f"{name}.weight"), scaled[f"{name}.weight"].float() * 0.5)
            continue
        with pytest.raises(ValueError, match="SelfAttention.q.weight is in 8 bits and has no scale"):
            loaded.conditioner.condition("a", None, None)


def test_text_encoders_of_other_widths_and_kinds_are_refused(network, parts, tmp_path):
    file = tmp_path / "any.safetensors"
    small.write_network(file, network)
    tensors = load_file(parts.text_encoder)
    save_file(
        {name: x for name, x in tensors.items() if "block.1.layer.0.SelfAttention.rel" not in name}, tmp_path / "t5.safetensors"
    )
    loaded = load_published(file, "video", replace(parts, text_encoder=tmp_path / "t5.safetensors"))
    with pytest.raises(ValueError, match="is not the encoder of UMT5, which .* needs; use umt5_xxl_fp16.safetensors"):
        loaded.conditioner.condition("a", None, None)
    with pytest.raises(ValueError, match="the embeddings are 7 wide, and Wan needs 32; use Load CLIP with type wan"):
        loaded.conditioner.from_embedding(TextEmbedding(torch.zeros(1, 2, 7), torch.ones(1, 2, dtype=torch.bool), None))


def test_settings_of_a_folder_say_how_the_width_is_split(small_wan, tmp_path):
    folder = Path(shutil.copytree(small_wan, tmp_path / "wan"))
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 2, "attention_head_dim": 48}))
    assert (published_card(folder)["heads"], published_card(folder)["head_size"]) == (2, 48)


def test_what_is_no_expert_is_named(small_wan, small_tangoflux, tmp_path):
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2)}, tmp_path / "flux.safetensors")
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    (tmp_path / "model.ckpt").write_bytes(b"PK" * 9)
    folder, shards = shutil.copytree(small_wan, tmp_path / "wan"), tmp_path / "shards"
    damaged = next((folder / "transformer").glob("*.safetensors"))
    damaged.write_bytes(b"")
    shards.mkdir()
    save_file({"norm_out.weight": torch.zeros(2)}, shards / "model-00001-of-00002.safetensors")
    for path, words in (
        (tmp_path / "flux.safetensors", "holds no model that Duet knows: 1 tensors, such as double_blocks"),
        (tmp_path / "other.gguf", "a GGUF file of no model"),
        (tmp_path / "model.ckpt", "a .ckpt file, which Duet does not load"),
        (folder, f"{damaged} is not a complete"),
        (shards, "model-00002-of-00002.safetensors is missing; finish the download"),
    ):
        for load in (lambda: load_published(path, "video"), lambda: join_experts(path, small_tangoflux, "", "", name="x")):
            with pytest.raises((ValueError, FileNotFoundError), match=re.escape(words)):
                load()
    for name in ("flux.safetensors", "other.gguf", "model.ckpt"):
        with pytest.raises(ValueError, match=f"{name} holds .*; use a joint model"):
            load_joint_model(tmp_path / name)


def test_parts_that_are_not_there_are_named(network, parts, tmp_path):
    small.write_network(path := tmp_path / "wan.safetensors", network)
    for part in ("vae", "text_encoder"):
        with pytest.raises(FileNotFoundError, match=f"there is no {part} .*gone"):
            load_published(path, "video", replace(parts, **{part: tmp_path / "gone.safetensors"}))


def test_weights_in_whole_numbers_are_refused(network, parts, tmp_path):
    small.write_network(path := tmp_path / "int8.safetensors", network)
    tensors = {name: x.to(torch.int8) if name.endswith("attn.q.weight") else x for name, x in load_file(path).items()}
    save_file(tensors, path)
    with pytest.raises(ValueError, match="is in a format that Duet does not read; use a file in fp8"):
        load_published(path, "video", parts)


def test_loading_leaves_the_random_numbers_and_takes_paths_as_text(network, parts, tmp_path):
    small.write_network(path := tmp_path / "wan.safetensors", network)
    before = torch.random.get_rng_state()
    options = ExpertOptions(text_encoder=str(parts.text_encoder), vae=str(parts.vae))
    load_published(str(path), "video", options)
    assert torch.equal(torch.random.get_rng_state(), before) and options.vae == parts.vae


def test_names_that_say_half_of_a14b():
    names = {"Wan2_2-T2V-A14B-HIGH_fp8_KJ": "high", "Wan2_2-T2V-A14B_LOW_fp8": "low", "Wan2.1-T2V-14B": "", "A14B-slow": ""}
    assert {name: Network(Path(f"{name}.safetensors"), ()).half for name in names} == names
