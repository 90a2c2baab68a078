"""Ovi's published files: found, described, loaded as the authors' code computes, and named in one line where they are wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from duet_av.av_models.checkpoint import read_shapes
from duet_av.av_models.codecs.mmaudio import MMAudioCodec
from duet_av.av_models.codecs.wan_vae import WanCodec
from duet_av.av_models.contract import FULL, AVTime, denoise
from duet_av.av_models.generation import generate
from duet_av.av_models.joint.ovi import OviSizes
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.published import umt5_file
from duet_av.av_models.published.joint import (
    LoadOptions,
    describe,
    family_files,
    find_family,
    load_family,
    mmaudio_files,
)
from duet_av.av_models.published.joint.ovi import own_scheduler, sizes_of
from duet_av.av_models.published.wan_vae_file import load_wan_vae
from duet_av.av_models.recommended import parse_sampling
from duet_av.benchmarks.small_models import ovi as small
from duet_av.tests import ovi_reference as ref

SMALL_CLIP = {"frames": 5, "height": 32, "width": 32}


@pytest.fixture
def folder(small_ovi: Path, tmp_path: Path) -> Path:
    """A copy of the small model that a test may change."""
    return Path(shutil.copytree(small_ovi, tmp_path / "Ovi"))


@pytest.fixture(scope="module")
def model(small_ovi: Path):
    return load_joint_model(small_ovi)


# The codecs


def test_wan_vae_from_one_file_equals_the_authors(tmp_path):
    file, expected = tmp_path / "wan2.2_vae.safetensors", ref.reference()
    small.save(file, ref.wan_vae_tensors())
    codec = WanCodec.of(load_wan_vae(file, torch.float32))
    frames = ref.random(10, 1, 3, 5, 32, 32).sigmoid()
    torch.testing.assert_close(codec.encode(frames.movedim(1, -1)), expected["wan_vae.latent"], atol=1e-5, rtol=1e-5)
    decoded = codec.decode(ref.random(11, 1, 48, 2, 2, 2)).movedim(-1, 1) * 2 - 1
    torch.testing.assert_close(decoded, expected["wan_vae.frames"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Wan 2.1", "Wan 2.2"])
def test_wan_vae_decodes_in_chunks_to_the_same_frames(tmp_path, kind):
    if kind == "Wan 2.2":
        file = tmp_path / "wan2.2_vae.safetensors"
        small.save(file, ref.wan_vae_tensors())
        codec = WanCodec.of(load_wan_vae(file, torch.float32))
    else:
        torch.manual_seed(0)
        codec = WanCodec(base_dim=4, z_dim=4, latents_mean=[0.1] * 4, latents_std=[1.2] * 4, num_res_blocks=1).eval()
    latent = ref.random(14, 2, codec.stride.channels, 3, 2, 2)
    chunks = list(codec.decode_chunks(latent))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4] and torch.equal(torch.cat(chunks, 1), codec.decode(latent))
    next(iter(codec.decode_chunks(latent)))  # a run that is stopped leaves nothing behind
    assert torch.equal(torch.cat(list(codec.decode_chunks(latent)), 1), codec.decode(latent))
    codec.vae.enable_tiling()
    assert torch.equal(torch.cat(list(codec.decode_chunks(latent)), 1), codec.decode(latent))


def vocoder_forms() -> dict[str, dict]:
    """The vocoder's weights as the authors' file has them, as older versions of PyTorch wrote them, and merged."""
    tensors = small.vocoder_tensors(3)
    new = "parametrizations.weight.original"
    merged = {name: x for name, x in tensors.items() if new not in name}
    for name, x in tensors.items():
        if name.endswith("original1"):
            merged[name.replace(f"{new}1", "weight")] = torch._weight_norm(x, tensors[name.replace("original1", "original0")], 0)
    old = {name.replace(f"{new}0", "weight_g").replace(f"{new}1", "weight_v"): x for name, x in tensors.items()}
    return {"new": tensors, "old": old, "merged": merged}


@pytest.mark.parametrize("form", ["new", "old", "merged"])
def test_mmaudio_for_16_khz_equals_the_authors(tmp_path, form):
    vae, vocoder, expected = tmp_path / "vae.safetensors", tmp_path / "vocoder.safetensors", ref.reference()
    small.save(vae, small.audio_vae_tensors(2))
    small.save(vocoder, vocoder_forms()[form])
    assert mmaudio_files.is_vae(read_shapes(vae)) and not mmaudio_files.is_vocoder(read_shapes(vae))
    assert mmaudio_files.is_vocoder(read_shapes(vocoder)) and not mmaudio_files.is_vae(read_shapes(vocoder))
    codec = MMAudioCodec(mmaudio_files.load_vae(vae), mmaudio_files.load_vocoder(vocoder)).eval()
    assert (codec.sample_rate, codec.stride.samples) == (16_000, 512)
    waveform = codec.decode(ref.random(12, 1, small.SIZES.audio_channels, 5))
    torch.testing.assert_close(waveform, expected["mmaudio.waveform"], atol=1e-5, rtol=1e-5)
    sound = ref.random(13, 1, 512 * 6) * 0.3
    torch.testing.assert_close(codec.encode(sound[:, None]), expected["mmaudio.latent"], atol=1e-5, rtol=1e-5)


def test_a_codec_that_claims_to_be_huge_is_refused_before_it_takes_memory(folder):
    tensors = load_file(folder / small.AUDIO_VAE)
    tensors["encoder.conv_in.weight"] = torch.zeros(2**16, 80, 1)  # the next layers would be 2¹⁶ · 2¹⁸ wide
    save_file(tensors, folder / small.AUDIO_VAE)
    with pytest.raises(ValueError, match="encoder.conv_in.weight has shape 65536×80×1, but MMAudioVAE16 needs 65536×80×3"):
        load_family(folder)


# The files


def test_the_folder_or_its_file_is_found_and_described(small_ovi):
    for path in (small_ovi, small_ovi / small.MODEL):
        assert find_family(path) == "Ovi"
        card = describe(path)
        assert card["name"] == "Ovi 1.1 (960×960, 5 s)" and card["licence"] == "Apache-2.0" and card["needs"] == []
        assert card["parameters"] == sum(x.numel() for x in load_file(small_ovi / small.MODEL).values())
        assert card["bytes"] == sum(file.stat().st_size for file in small_ovi.rglob("*") if file.is_file())
        assert set(family_files(path)) == {file for file in small_ovi.rglob("*") if file.is_file()}
        advice = parse_sampling(card["sampling"], "card")
        assert (advice.steps, advice.guidance, advice.negative_skip_block) == (50, "cfg", 1)
        assert advice.scales["cfg"] == {"video_scale": 4.0, "audio_scale": 3.0}
    assert find_family(small_ovi / small.VIDEO_VAE) is None


def test_the_published_sizes_are_read_off_the_tensors():
    shapes = {
        "video_model.patch_embedding.weight": (3072, 48, 1, 2, 2), "video_model.blocks.0.ffn.0.weight": (14336, 3072),
        "audio_model.patch_embedding.0.weight": (3072, 20, 7), "audio_model.patch_embedding.2.w1.weight": (8192, 3072, 7),
        "video_model.text_embedding.0.weight": (3072, 4096), "video_model.time_embedding.0.weight": (3072, 256),
    }  # fmt: skip
    shapes |= {f"video_model.blocks.{i}.modulation.modulation": (1, 6, 3072) for i in range(30)}
    assert sizes_of(shapes, Path("model.safetensors")) == OviSizes()


def test_the_sizes_of_umt5_xxl_are_read_off_the_tensors():
    block = "encoder.block.{}.layer.0.SelfAttention."
    shapes = {"shared.weight": (256384, 4096), "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": (10240, 4096)}
    for i in range(24):
        shapes |= {f"{block.format(i)}q.weight": (4096, 4096), f"{block.format(i)}relative_attention_bias.weight": (32, 64)}
    found = umt5_file.config_of(shapes)
    sizes = found.vocab_size, found.d_model, found.d_kv, found.d_ff, found.num_heads, found.num_layers
    assert sizes == (256384, 4096, 64, 10240, 64, 24) and found.feed_forward_proj == "gated-gelu"


@pytest.mark.parametrize("name, words, frames, latents", [
    ("model.safetensors", "<AUDCAP>", 120, (31, 157)), ("model_fp8_e4m3fn.safetensors", "<AUDCAP>", 120, (31, 157)),
    ("model_960x960.safetensors", "Audio:", 120, (31, 157)), ("model_960x960_10s.safetensors", "Audio:", 241, (61, 314)),
])  # fmt: skip
def test_the_name_of_the_file_says_the_clip_and_the_words_for_sound(folder, name, words, frames, latents):
    (folder / small.MODEL).rename(folder / name)
    model = load_family(folder)
    assert model.clip.frames == frames and words in model.conditioner.prompt_help and words in " ".join(model.card["notes"])
    sizes = model.latent_shape(model.shape())
    assert (sizes.video[2], sizes.audio[2]) == latents
    other = {"<AUDCAP>": "A dog. Audio: barks", "Audio:": "A dog. <AUDCAP>barks<ENDAUDCAP>"}[words]
    assert "was not trained with" in model.ignored_prompts(other, "")[0] and model.ignored_prompts(f"A dog. {words} x", "") == []


def test_parts_are_found_in_comfyui_folders_too(folder, tmp_path):
    models = tmp_path / "models"
    for source, target in (
        (small.MODEL, "duet/Ovi"), (small.VIDEO_VAE, "vae"), (small.AUDIO_VAE, "mmaudio"), (small.VOCODER, "vae/ovi"),
        ("text_encoder", "diffusers/Wan2.2-TI2V-5B-Diffusers"), ("tokenizer", "diffusers/Wan2.2-TI2V-5B-Diffusers"),
    ):  # fmt: skip
        (models / target).mkdir(parents=True, exist_ok=True)
        shutil.move(folder / source, models / target)
    (models / "vae" / "cut_off.safetensors").write_bytes(b"\x08")
    path = models / "duet" / "Ovi" / small.MODEL
    assert describe(path)["needs"] == [] and load_family(path).encode("a", "").video.tokens.shape[-1] == small.TEXT_WIDTH


def test_the_vae_of_a_diffusers_folder_serves_too(folder, model):
    file = folder / small.VIDEO_VAE
    load_wan_vae(file, torch.float32).save_pretrained(folder / "vae")
    file.unlink()
    (folder / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    other = load_family(folder)
    latent = ref.random(1, 1, 48, 2, 2, 2)
    torch.testing.assert_close(other.video_codec.decode(latent), model.video_codec.decode(latent))


@pytest.mark.parametrize("scaled", [False, True])
def test_comfyui_s_file_of_the_text_encoder_serves_too(folder, model, tmp_path, scaled):
    """Its fp8 file has a scale beside each weight; the names are those of transformers."""
    tensors = load_file(folder / "text_encoder" / "model.safetensors")
    assert "encoder.embed_tokens.weight" not in tensors
    if scaled:
        for name in [name for name in tensors if "SelfAttention.q.weight" in name]:
            tensors[name] = (tensors[name] / 0.125).to(torch.float8_e4m3fn)
            tensors[name.removesuffix("weight") + "scale_weight"] = torch.tensor(0.125)
    models = tmp_path / "models"
    (models / "text_encoders").mkdir(parents=True)
    small.save(models / "text_encoders" / "umt5_xxl_fp16.safetensors", {k: x for k, x in tensors.items() if x.element_size() > 1})
    if scaled:
        save_file(tensors, models / "text_encoders" / "umt5_xxl_fp16.safetensors")
    shutil.rmtree(folder / "text_encoder")
    shutil.move(folder, models / "Ovi")
    other = load_family(models / "Ovi")
    assert describe(models / "Ovi")["needs"] == []
    found, expected = (each.encode("a dog", "").video.tokens for each in (other, model))
    torch.testing.assert_close(found, expected, atol=0.2 if scaled else 0, rtol=0)
    encoder = other.conditioner.text.pipeline.text_encoder
    assert encoder.encoder.embed_tokens.weight is encoder.shared.weight


def test_every_missing_part_is_named_with_where_it_is_published(folder):
    for file in (small.VIDEO_VAE, small.AUDIO_VAE, small.VOCODER):
        (folder / file).unlink()
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    needs = describe(folder)["needs"]
    assert len(needs) == 5 and all(word in " ".join(needs) for word in ("Comfy-Org", "Kijai/WanVideo_comfy", "Wan-AI"))
    with pytest.raises(FileNotFoundError, match="needs the video VAE .* and the audio VAE .* and the vocoder") as error:
        load_family(folder)
    assert "\n" not in str(error.value) and "text encoder" not in str(error.value)


def test_without_its_text_encoder_it_takes_embeddings(folder):
    shutil.rmtree(folder / "text_encoder")
    model = load_family(folder)
    with pytest.raises(FileNotFoundError, match="needs the text encoder .* or connect clip of Prompts for Video and Audio"):
        model.encode("a", "b")
    tokens = torch.zeros(1, 512, small.TEXT_WIDTH)
    tokens[:, :6] = 1
    found = model.conditioner.from_embeddings(tokens, None, None)
    assert found.video.tokens.shape == (1, 6, small.TEXT_WIDTH)
    mask = torch.arange(512)[None] < 4
    assert model.conditioner.from_embeddings(tokens, mask, None).video.tokens.shape[1] == 4
    with pytest.raises(ValueError, match="the embeddings are 7 wide, and Ovi needs 32; use Load CLIP"):
        model.conditioner.from_embeddings(torch.zeros(1, 3, 7), None, None)


def change(folder: Path, edit) -> None:
    tensors = load_file(folder / small.MODEL)
    edit(tensors)
    save_file(tensors, folder / small.MODEL)


@pytest.mark.parametrize("edit, line", [
    (lambda t: t.pop("video_model.head.modulation"), "lacks 1 tensors of Ovi, such as video_model.head.modulation;"),
    (lambda t: t.pop("audio_model.patch_embedding.0.weight"), "lacks tensors of Ovi, such as 'audio_model.patch_embedding.0."),
    (lambda t: t.update({"audio_model.head.head.bias": torch.zeros(3)}),
     "audio_model.head.head.bias has shape 3, but Ovi needs 6; download it again"),
])  # fmt: skip
def test_a_wrong_file_is_one_line(folder, edit, line):
    change(folder, edit)
    with pytest.raises(ValueError, match=re.escape(line)) as error:
        load_family(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_was_cut_off_is_one_line(folder):
    file = folder / small.MODEL
    file.write_bytes(file.read_bytes()[:-1000])
    for path in (folder, file):
        for load in (load_family, load_joint_model, describe):
            with pytest.raises(ValueError, match=f"^{file} is not a complete safetensors file"):
                load(path)


@pytest.mark.parametrize("options, line", [
    ({"dtype": "int4"}, "dtype is 'int4'; use float32"), ({"quantize": "int4"}, "quantize is 'int4'; use fp8"),
    ({"gguf": Path("x.gguf")}, "gguf is x.gguf, but Ovi is not loaded from GGUF files"),
])  # fmt: skip
def test_a_precision_that_there_is_not_is_one_line(small_ovi, options, line):
    with pytest.raises(ValueError, match=line):
        load_family(small_ovi, LoadOptions(**options))


# Precision


def predict(denoiser):
    sizes, t = denoiser.sizes, torch.tensor([0.6])
    latent = ref.AVLatent(ref.random(1, 1, sizes.video_channels, 2, 4, 4), ref.random(2, 1, sizes.audio_channels, 7))
    prompt = ref.Condition(ref.random(3, 1, 5, sizes.text_width), torch.ones(1, 5, dtype=torch.bool))
    return denoise(denoiser, latent, AVTime(t, t), ref.AVCondition(prompt, prompt), [FULL])


def test_half_precision_stays_and_is_close(small_ovi, model):
    kept = load_family(small_ovi, LoadOptions(keep_dtype=True)).denoiser
    assert {x.dtype for x in kept.parameters()} == {torch.bfloat16} and {x.dtype for x in model.denoiser.parameters()} == {
        torch.float32
    }
    found, exact = predict(kept), predict(model.denoiser)
    assert (found.video.float() - exact.video).abs().mean() < 0.05 * exact.video.abs().mean()


@pytest.mark.parametrize("stored", ["bf16", "fp8"])
def test_weights_in_8_bits_take_half_the_memory_and_compute_in_the_other_dtype(folder, stored):
    if stored == "fp8":  # as rkfg's model_fp8_e4m3fn.safetensors
        change(folder, lambda t: t.update({k: x.to(torch.float8_e4m3fn) for k, x in t.items() if x.ndim == 2 and "blocks." in k}))
    options = LoadOptions(keep_dtype=True, quantize=None if stored == "fp8" else "fp8")
    denoiser = load_family(folder, options).denoiser
    assert denoiser.blocks[0].video.ffn.net[2].weight.dtype == torch.float8_e4m3fn
    assert denoiser.video.proj_out.weight.dtype == denoiser.blocks[0].video.scale_shift_table.dtype == torch.bfloat16
    found, whole = predict(denoiser), predict(load_family(folder).denoiser)
    assert (found.video.float() - whole.video).abs().mean() < 0.25 * whole.video.abs().mean()


def test_weights_with_scales_are_what_they_stand_for(folder, model):
    """As Kijai's files of 8 bits: each weight has a scale beside it."""

    def scale(tensors):
        for name in [k for k, x in tensors.items() if x.ndim == 2 and "blocks." in k]:
            tensors[name] = (tensors[name].float() / 0.02).to(torch.float8_e4m3fn)
            tensors[name.removesuffix("weight") + "scale_weight"] = torch.tensor(0.02)

    change(folder, scale)
    found, exact = predict(load_family(folder, LoadOptions(keep_dtype=True)).denoiser), predict(model.denoiser)
    assert (found.video.float() - exact.video).abs().mean() < 0.25 * exact.video.abs().mean()


# A whole run


def test_text_and_a_seed_make_a_clip_with_sound(model):
    clip = generate(model, "a dog. Audio: barks", shape=model.shape(**SMALL_CLIP), schedule=model.make_schedule(
        model.latent_shape(model.shape(**SMALL_CLIP)), steps=2))  # fmt: skip
    assert clip.frames.shape == (5, 32, 32, 3) and clip.sample_rate == 16_000 and clip.waveform.shape == (1, round(5 / 24 * 16_000))
    assert torch.isfinite(clip.frames).all() and clip.waveform.abs().max() <= 1


def test_its_own_schedule_is_unipc_with_the_times_of_the_authors(model):
    schedule = model.make_schedule(model.latent_shape(model.shape(**SMALL_CLIP)))
    assert schedule.times is not None and len(schedule.times) == 50 and schedule.times[0] == pytest.approx(0.9998, abs=1e-5)
    assert type(schedule.video_scheduler) is type(own_scheduler())


def test_prompts_are_those_of_diffusers_wan_pipeline(model):
    words = "A man says <S>hello<E>. Audio: rain"
    pipeline = model.conditioner.text.pipeline
    tokens = pipeline.encode_prompt(words, do_classifier_free_guidance=False, max_sequence_length=512, device="cpu")[0]
    found = model.encode(words, "").video
    length = found.tokens.shape[1]
    assert torch.equal(found.tokens, tokens[:, :length]) and not tokens[:, length:].any() and found.mask.all()


def test_each_modality_has_words_of_its_own(model):
    shared, apart = model.encode("a dog", ""), model.encode("a dog", "rain")
    assert torch.equal(shared.video.tokens, shared.audio.tokens) and torch.equal(shared.video.tokens, apart.video.tokens)
    assert apart.audio.tokens.shape != apart.video.tokens.shape
    assert model.negative_words("", "hum") == ("jitter, bad hands, blur, distortion", "hum")
