"""TangoFlux from every kind of file, and what is wrong with others."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from duet_av.av_models.codecs.oobleck import OobleckCodec
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert
from duet_av.av_models.published.experts import tangoflux as family
from duet_av.av_models.published.experts.tangoflux_files import find_prefixes, rotary_axes, transformer_config
from duet_av.av_models.published.load_published import is_published, load_published, published_card, published_files
from duet_av.av_models.published.t5_file import config_of
from duet_av.av_models.shapes import AudioShape, AVShape, VideoShape
from duet_av.benchmarks.small_models import tangoflux as small
from duet_av.tests.tangoflux_reference import build_vae
from duet_av.tests.test_tangoflux import inputs

CLIP = AVShape.of_seconds(2.0, 8, 8, 8, 44100, 2)
TEXT = "text_encoder."


@pytest.fixture
def folder(small_tangoflux, tmp_path) -> Path:
    """A copy of the small model to change."""
    return Path(shutil.copytree(small_tangoflux, tmp_path / "TangoFlux"))


@pytest.fixture(scope="module")
def loaded(small_tangoflux):
    return load_published(small_tangoflux, "audio")


def change(path: Path, edit) -> None:
    tensors = load_file(path)
    found = edit(tensors)
    save_file(tensors if found is None else found, path)


def renamed(tensors: dict, transformer: str, other: str = "", duration: str = "duration_emebdder.") -> dict:
    """The tensors with other names. transformer: in place of "transformer."; other: before the others."""
    starts = {"transformer.": transformer, "duration_emebdder.": other + duration}
    found = {}
    for name, x in tensors.items():
        start = next((start for start in starts if name.startswith(start)), "")
        found[starts.get(start, other) + name.removeprefix(start)] = x
    return found


def words(expert, prompt: str = "a dog barks"):
    return expert.conditioner.condition(prompt, None, CLIP)


def same_weights(one, other) -> bool:
    tensors = one.state_dict(), other.state_dict()
    return tensors[0].keys() == tensors[1].keys() and all(torch.equal(x, tensors[1][name]) for name, x in tensors[0].items())


# Files of every kind


def test_the_folder_of_the_authors_says_what_it_is(small_tangoflux, loaded):
    found, card = find_expert(small_tangoflux), published_card(small_tangoflux)
    assert is_published(small_tangoflux) and found.model == "TangoFlux" and found.kind == "audio_expert"
    assert (found.names, found.precision, found.family) == ("original", "fp32", "tangoflux")
    assert found.parameters > card["parameters"] == sum(x.numel() for x in loaded.expert.parameters())
    assert (card["blocks"], card["heads"], card["head_size"]) == (3, 1, 32) and card["needs"] == []
    assert card == loaded.card and "research only" in card["licence"] and "Not tried with published weights yet." in card["notes"]
    sizes = [file.stat().st_size for file in published_files(small_tangoflux)]
    assert card["bytes"] == sum(sizes) and {"tangoflux.safetensors", "vae.safetensors", "tokenizer.json", "config.json"} <= {
        file.name for file in published_files(small_tangoflux)
    }
    assert loaded.sampling == {"steps": 50, "scale": 4.5} and loaded.clip is None and loaded.conditioner.comfyui_text is None


def test_the_sizes_of_the_published_one_are_read_off_its_shapes():
    """6 + 18 blocks of 8 heads of 128, and FLAN-T5-large, as in the authors' config."""
    sizes = {
        "in_channels": 64, "num_layers": 6, "num_single_layers": 18, "attention_head_dim": 128, "num_attention_heads": 8,
        "joint_attention_dim": 1024, "pooled_projection_dim": 1024,
    }  # fmt: skip
    large = {"vocab_size": 32128, "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16}
    with torch.device("meta"):
        parts = {
            "transformer.": FluxTransformer2DModel(**sizes), "fc.0.": torch.nn.Linear(1024, 1024),
            "text_encoder.": T5EncoderModel(T5Config(**large, feed_forward_proj="gated-gelu")),
        }  # fmt: skip
    shapes = {prefix + name: tuple(x.shape) for prefix, part in parts.items() for name, x in part.state_dict().items()}
    prefixes = find_prefixes(shapes | {"duration_emebdder.time_positional_embedding.0.weights": (128,)})
    assert transformer_config(shapes, prefixes) == sizes | {"axes_dims_rope": (16, 56, 56)}
    text = config_of(shapes, "text_encoder.")
    assert {name: getattr(text, name) for name in large} == large and text.is_gated_act


@pytest.mark.parametrize("head_size, axes", [(128, (16, 56, 56)), (64, (8, 28, 28)), (32, (4, 14, 14)), (16, (2, 6, 8))])
def test_other_head_sizes_have_the_same_shares_of_the_axes(head_size, axes):
    assert rotary_axes(head_size) == axes


@pytest.mark.parametrize("names, other, duration", [
    ("diffusers", "", "duration_embedder."), ("comfyui", "", "duration_emebdder."),
    ("comfyui", "model.diffusion_model.", "duration_emebdder."), ("original", "model.", "duration_emebdder."),
])  # fmt: skip
def test_every_naming_gives_the_same_weights(folder, loaded, names, other, duration):
    start = {"diffusers": "", "comfyui": "model.diffusion_model.", "original": "transformer."}[names]
    file = folder / "another name.safetensors"
    (folder / small.MODEL).rename(file)
    change(file, lambda t: renamed(t, start, other, duration))
    found = load_published(file, "audio")
    card = published_card(file)
    assert same_weights(found.expert, loaded.expert) and card["names"] == names
    assert card["parameters"] == loaded.card["parameters"] == sum(x.numel() for x in found.expert.parameters())
    assert torch.equal(words(found).tokens, words(loaded).tokens)


def test_shards_are_one_model(folder, loaded, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    tensors = load_file(folder / small.MODEL)
    names = sorted(tensors)
    parts = {f"model-0000{number}-of-00002.safetensors": names[number - 1 :: 2] for number in (1, 2)}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, shards / file)
    index = {name: file for file, own in parts.items() for name in own}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    options = ExpertOptions(vae=folder / small.VAE, tokenizer=folder / small.TOKENIZER)
    assert published_card(shards, options)["needs"] == []
    found = load_published(shards, "audio", options)
    assert same_weights(found.expert, loaded.expert) and torch.equal(words(found).tokens, words(loaded).tokens)
    next(shards.glob("*-00002-of*")).unlink()
    assert find_expert(shards) is None
    with pytest.raises((ValueError, FileNotFoundError), match="model-00002-of-00002.safetensors") as error:
        load_published(shards, "audio", options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["folder beside", "folder", "file", "file in 8 bits"])
def test_the_text_encoder_may_lie_elsewhere(folder, loaded, tmp_path, form):
    tensors = load_file(folder / small.MODEL)
    text = {name.removeprefix(TEXT): x for name, x in tensors.items() if name.startswith(TEXT)}
    save_file({name: x for name, x in tensors.items() if not name.startswith(TEXT)}, folder / small.MODEL)
    assert any("text encoder" in need for need in published_card(folder)["needs"])
    with pytest.raises(FileNotFoundError, match="needs the text encoder .*flan-t5-large.* or connect a CONDITIONING"):
        words(load_published(folder, "audio"))
    place = folder / "flan-t5-large" if form == "folder beside" else tmp_path / "text_encoders"
    place.mkdir()
    file = place / ("model.safetensors" if "folder" in form else "flan_t5_large.safetensors")
    if form == "file in 8 bits":
        for name in [name for name in text if name.endswith("wi_0.weight")]:
            text |= {name: (text[name] * 64).to(torch.float8_e4m3fn), name.replace("weight", "scale_weight"): torch.tensor(1 / 64)}
    save_file(text, file)
    if "folder" in form:
        shutil.move(folder / small.TOKENIZER, place / "x")
        for each in (place / "x").iterdir():
            each.rename(place / each.name)
    options = ExpertOptions() if form == "folder beside" else ExpertOptions(text_encoder=place if form == "folder" else file)
    found = load_published(folder, "audio", options)
    assert found.card["needs"] == [] and file in published_files(folder, options)
    atol = 0.2 if "8 bits" in form else 0
    torch.testing.assert_close(words(found).tokens, words(loaded).tokens, rtol=0, atol=atol)


def test_a_text_encoder_that_is_named_comes_first(folder, tmp_path):
    tensors = load_file(folder / small.MODEL)
    text = {name.removeprefix(TEXT): 2 * x for name, x in tensors.items() if name.startswith(TEXT)}
    save_file(text, tmp_path / "t5.safetensors")
    found = load_published(folder, "audio", ExpertOptions(text_encoder=tmp_path / "t5.safetensors"))
    assert not torch.equal(words(found).tokens, words(load_published(folder, "audio")).tokens)


def test_half_precision_and_8_bits(folder, loaded):
    latent, t, text = inputs(loaded.expert)
    exact = loaded.expert(latent, t, text)
    for edit, dtype in (
        (lambda t: {k: x.half() for k, x in t.items()}, torch.float16),
        (lambda t: {k: x.to(torch.bfloat16 if x.ndim < 2 else torch.float8_e4m3fn) for k, x in t.items()}, torch.bfloat16),
    ):
        shutil.copy(folder / small.MODEL, folder / "kept")
        change(folder / small.MODEL, edit)
        kept = load_published(folder, "audio", ExpertOptions(keep_dtype=True))
        assert kept.expert.dtype == dtype
        assert kept.expert.fc.weight.dtype == words(kept).tokens.dtype == torch.float32
        stored = {x.dtype for x in kept.expert.transformer.transformer_blocks[0].ff.parameters()}
        assert ("fp8 without scales" in kept.card["notes"]) == (torch.float8_e4m3fn in stored) == (dtype == torch.bfloat16)
        assert (kept.expert(latent, t, text) - exact).abs().mean() < 0.3 * exact.abs().mean()
        shutil.move(folder / "kept", folder / small.MODEL)
    quantized = load_published(folder, "audio", ExpertOptions(quantize="fp8", dtype="bfloat16")).expert
    assert quantized.transformer.single_transformer_blocks[0].proj_mlp.weight.dtype == torch.float8_e4m3fn
    assert (quantized(latent, t, text) - exact).abs().mean() < 0.3 * exact.abs().mean()


def test_8_bits_with_scales_are_what_they_stand_for(folder, loaded):
    def scale(tensors):
        for name in [name for name in tensors if name.endswith("proj_mlp.weight")]:
            tensors[name] = (tensors[name] * 64).to(torch.float8_e4m3fn)
            tensors[name.replace("weight", "scale_weight")] = torch.tensor(1 / 64)

    change(folder / small.MODEL, scale)
    found = load_published(folder, "audio").expert
    weights = [each.transformer.single_transformer_blocks[0].proj_mlp.weight for each in (found, loaded.expert)]
    torch.testing.assert_close(*weights, rtol=0.07, atol=0.01)
    change(
        folder / small.MODEL,
        lambda t: {k: x for k, x in t.items() if k != "transformer.single_transformer_blocks.1.proj_mlp.scale_weight"},
    )
    with pytest.raises(
        ValueError, match="tangoflux.safetensors: transformer.single_transformer_blocks.1.proj_mlp.weight is in 8 bits and has no"
    ):
        load_published(folder, "audio")


def test_a_lora_changes_its_layers(folder, loaded, tmp_path):
    name = "transformer.single_transformer_blocks.0.proj_mlp"
    lora = {f"{name}.lora_A.weight": torch.ones(2, 32), f"{name}.lora_B.weight": torch.ones(128, 2)}
    save_file(lora, tmp_path / "lora.safetensors")
    latent, t, text = inputs(loaded.expert)
    found = load_published(folder, "audio", ExpertOptions(loras=((tmp_path / "lora.safetensors", 0.5),)))
    assert not torch.equal(found.expert(latent, t, text), loaded.expert(latent, t, text))


# Lengths


def test_every_clip_has_all_latent_steps_and_keeps_the_beginning(loaded):
    stride = loaded.codec.stride
    assert (stride.samples, stride.steps, loaded.codec.sample_rate) == (2048, 645, 44100)
    assert stride.latent_shape(CLIP.audio) == (4, 645) and loaded.codec.with_steps(0).stride.latent_length(88200) == 44
    with pytest.raises(ValueError, match="the clip is 31 s long; use at most 30 s, the longest clip of this audio model"):
        stride.latent_shape(AudioShape(31 * 44100, 44100))
    loaded.expert.for_clip(AVShape(VideoShape(240, 8, 8, 8), AudioShape(30 * 44100, 44100)))


def test_the_settings_say_the_lengths(folder):
    settings = json.loads((folder / small.SETTINGS).read_text())
    (folder / small.SETTINGS).write_text(json.dumps(settings | {"audio_seq_len": 12, "max_duration": 3}))
    found = load_published(folder, "audio")
    assert found.codec.stride.steps == 12 and found.expert.max_seconds == 3 and found.expert.duration.max_value == 3
    for name, value in (("audio_seq_len", 0), ("max_duration", "30"), ("max_duration", True)):
        (folder / small.SETTINGS).write_text(json.dumps(settings | {name: value}))
        with pytest.raises(ValueError, match=f"config.json: {name} is '?{value}'?; use a whole number of at least 1"):
            load_published(folder, "audio")
    (folder / small.SETTINGS).unlink()
    assert load_published(folder, "audio").codec.stride.steps == 645


def test_a_codec_may_replace_the_vae(folder, loaded):
    (folder / small.VAE).unlink()
    assert any("the VAE" in need for need in published_card(folder)["needs"])
    with pytest.raises(
        FileNotFoundError, match="needs the VAE .vae.safetensors of declare-lab/TangoFlux.; download it to the folder"
    ):
        load_published(folder, "audio")
    given = loaded.codec.with_steps(0)
    found = load_published(folder, "audio", ExpertOptions(codec=given))
    assert found.codec.stride.steps == 645 and given.stride.steps == 0 and found.codec.vae is given.vae
    assert found.card["needs"] == []
    with pytest.raises(
        ValueError, match="the VAE has latents of 64 channels, but TangoFlux needs 4 channels; use the VAE of TangoFlux"
    ):
        load_published(folder, "audio", ExpertOptions(codec=OobleckCodec.of(build_vae())))


# Bad input


@pytest.mark.parametrize("edit", [
    lambda t: t.pop("fc.0.weight"), lambda t: t.pop("duration_emebdder.time_positional_embedding.0.weights"),
    lambda t: t.pop("transformer.x_embedder.weight"), lambda t: {"x": torch.zeros(1)},
], ids=["no fc", "Flux for images", "no transformer", "nothing"])  # fmt: skip
def test_other_files_are_no_tangoflux(folder, edit):
    change(folder / small.MODEL, lambda t: edit(t) if isinstance(edit(dict(t)), dict) else (edit(t), t)[1])
    assert find_expert(folder) is None and find_expert(folder / small.MODEL) is None and not is_published(folder)
    with pytest.raises(ValueError, match="holds no TangoFlux; use tangoflux.safetensors of declare-lab/TangoFlux"):
        family.describe(folder, ExpertOptions())


@pytest.mark.parametrize("edit, line", [
    (lambda t: t.pop("transformer.proj_out.bias"), "lacks 1 tensors of FluxTransformer2DModel, such as transformer.proj_out.bias;"),
    (lambda t: t.pop("duration_emebdder.time_positional_embedding.1.bias"), "lacks 1 tensors of StableAudioNumberConditioner,"),
    (lambda t: t.update({"transformer.norm_out.linear.bias": torch.zeros(3)}),
     "transformer.norm_out.linear.bias has shape 3, but FluxTransformer2DModel needs 64; download it again"),
    (lambda t: t.update({"fc.0.bias": torch.zeros(5)}), "fc.0.bias has shape 5, but Linear needs 32; download it again"),
])  # fmt: skip
def test_a_damaged_model_is_one_line(folder, edit, line):
    change(folder / small.MODEL, lambda t: (edit(t), None)[1])
    with pytest.raises(ValueError, match=re.escape(line)) as error:
        load_published(folder, "audio")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_files_that_were_cut_off_are_no_models(folder):
    file = folder / small.MODEL
    file.write_bytes(file.read_bytes()[:-1000])
    assert find_expert(folder) is None and find_expert(file) is None


def test_the_tokenizer_is_missed_with_the_command_that_downloads_it(folder):
    shutil.rmtree(folder / small.TOKENIZER)
    found = load_published(folder, "audio")
    assert any("its tokenizer" in need for need in found.card["needs"])
    command = f"hf download google/flan-t5-large tokenizer.json .* --local-dir {re.escape(str(folder / 'tokenizer'))}"
    with pytest.raises(
        FileNotFoundError, match=f"needs its tokenizer .of google/flan-t5-large. to encode prompts; download it: {command}, or"
    ) as error:
        words(found)
    assert "\n" not in str(error.value)


def test_another_text_encoder_or_tokenizer_is_one_line(folder, tmp_path):
    other = {name.removeprefix(TEXT): x for name, x in load_file(folder / small.MODEL).items() if name.startswith(TEXT)}
    narrow = {name: x[..., :16] if x.ndim < 2 or "o.weight" not in name else x[:16] for name, x in other.items()}
    save_file({name: x.contiguous() for name, x in narrow.items()}, tmp_path / "t5.safetensors")
    found = load_published(folder, "audio", ExpertOptions(text_encoder=tmp_path / "t5.safetensors"))
    with pytest.raises(
        ValueError, match="t5.safetensors has text embeddings of width 16, but .* needs 32; use google/flan-t5-large"
    ):
        words(found)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="x.safetensors lacks shared.weight, so that it is not the encoder of a T5"):
        words(load_published(folder, "audio", ExpertOptions(text_encoder=tmp_path / "x.safetensors")))
    for name in ("vae", "text_encoder", "tokenizer"):
        with pytest.raises(FileNotFoundError, match=f"there is no {name} .*none; check the name"):
            load_published(folder, "audio", ExpertOptions(**{name: tmp_path / "none"}))
    change(folder / small.MODEL, lambda t: t | {f"{TEXT}shared.weight": t[f"{TEXT}shared.weight"][:40].clone()})
    with pytest.raises(ValueError, match="the tokenizer has words that its text encoder lacks; download both again"):
        words(load_published(folder, "audio"), "z~y}x|")


def test_options_that_there_are_not(small_tangoflux):
    for options, line in (
        ({"dtype": "int4"}, "dtype is 'int4'; use float32"), ({"quantize": "int4"}, "quantize is 'int4'; use fp8"),
        ({"gguf": Path("x.gguf")}, "gguf is x.gguf, but TangoFlux is not loaded from GGUF files; leave it out"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=line):
            load_published(small_tangoflux, "audio", ExpertOptions(**options))
    with pytest.raises(ValueError, match="is of kind audio_expert .TangoFlux.; use one of kind video_expert"):
        load_published(small_tangoflux, "video")
