"""The folder of an LTX-2: what its card says, what is wrong with it in one line, and what its codecs do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from duet_av.av_models.codecs.ltx2_vae import LTX2VideoCodec
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.published.joint import LoadOptions, describe, family_files, find_family
from duet_av.av_models.published.joint.ltx2 import distilled_times
from duet_av.av_models.shapes import AudioStride
from duet_av.benchmarks.small_models.ltx2 import VAE, _random

CODECS = ("vae", "audio_vae", "vocoder")


@pytest.fixture
def folder(small_ltx2, tmp_path) -> Path:
    return Path(copytree(small_ltx2, tmp_path / "LTX"))


def change(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_the_card_says_what_it_is(small_ltx2_versions):
    cards = {version: describe(folder) for version, folder in small_ltx2_versions.items()}
    assert [cards[version]["name"] for version in ("2.0", "2.3", "2.5")] == ["LTX-2.0", "LTX-2.3", "LTX-2.5"]
    for version, card in cards.items():
        folder = small_ltx2_versions[version]
        assert find_family(folder) == card["architecture"] == "LTX2Pipeline"
        assert "Community License" in card["licence"] and "10 million USD" in card["licence"]
        assert card["trained"] and not card["needs"] and card["given"] == "frames" and "Not tried" in card["notes"][0]
        assert 100_000 < card["parameters"] < 400_000 and 2e6 < card["bytes"] < 5e6
        assert family_files(folder) == sorted(file for file in folder.rglob("*") if file.is_file())
    assert ["Gemma 3" in " ".join(card["notes"]) for card in cards.values()] == [version != "2.5" for version in cards]
    assert [f"img_compression {18 if version == '2.5' else 33}" in " ".join(card["notes"]) for version, card in cards.items()] == [
        True
    ] * 3
    assert describe(small_ltx2_versions["2.3"])["sampling"]["guidance"] == "modality_cfg"


def by_name(folder: Path) -> Path:
    return Path(folder.rename(folder.with_name("LTX-2.3-Distilled-Diffusers")))


def by_scheduler(folder: Path) -> Path:
    change(folder / "scheduler" / "scheduler_config.json", use_dynamic_shifting=False, shift_terminal=None)
    return folder


def by_other_weights(folder: Path) -> Path:
    copytree(folder / "transformer", folder / "transformer_full")
    return folder


def by_config_of_other_weights(folder: Path) -> Path:
    """As the command of the docs leaves LTX-2.5."""
    copytree(folder / "transformer", folder / "transformer_full", ignore=ignore_patterns("*.safetensors*"))
    return folder


@pytest.mark.parametrize("mark", [by_name, by_scheduler, by_other_weights, by_config_of_other_weights])
def test_distilled_weights_are_known_and_only_advised_to_go_without_guidance(folder, mark: Callable[[Path], Path]):
    folder = mark(folder)
    card, model = describe(folder), load_joint_model(folder)
    assert card["name"] == model.name == "LTX-2.3 distilled" and "no guidance" in " ".join(card["notes"])
    assert model.recommended.make_guidance().name == "none" and model.recommended.steps == 8
    latents = model.latent_shape(model.shape(frames=9, height=64, width=64))
    assert list(model.make_schedule(latents).times) == distilled_times(8, latents)
    assert not model.denoiser.refuses_guidance
    assert ("without transformer" in " ".join(card["notes"])) == (mark is by_other_weights)
    if mark is by_other_weights:
        assert not any("transformer_full" in str(file) for file in family_files(folder))
        rmtree(folder / "transformer")
        card = describe(folder)
        assert card["name"] == load_joint_model(folder).name == "LTX-2.3" and card["sampling"]["steps"] == 30


def remove_shard(folder: Path) -> None:
    sorted((folder / "transformer").glob("*.safetensors"))[1].unlink()


def remove_codec(folder: Path) -> None:
    rmtree(folder / "audio_vae")


def other_family(folder: Path) -> None:
    change(folder / "model_index.json", _class_name="LTXPipeline")


def newer(folder: Path) -> None:
    change(folder / "transformer" / "config.json", _diffusers_version="9.1.0", patch_order="odd")


def other_rate(folder: Path) -> None:
    change(folder / "vocoder" / "config.json", output_sampling_rate=44_101)


def other_network(folder: Path) -> None:
    change(folder / "transformer" / "config.json", _class_name="LTXVideoTransformer3DModel")


def patches(folder: Path) -> None:
    change(folder / "transformer" / "config.json", patch_size=2)


def other_scheduler(folder: Path) -> None:
    change(folder / "scheduler" / "scheduler_config.json", base_shift={"a": 1})


def other_bands(folder: Path) -> None:
    change(folder / "audio_vae" / "config.json", mel_bins=32)


@pytest.mark.parametrize("spoil, words", [
    (other_scheduler, ("LTX2Pipeline", "unsupported operand", "download")),
    (other_bands, ("audio_vae has 16 channels", "the transformer 8")),
    (remove_shard, ("transformer/diffusion_pytorch_model-00002-of-", "finish the download")),
    (remove_codec, ("no folder audio_vae", "download the whole repository")),
    (other_family, ("holds LTXPipeline", "LTX2Pipeline")),
    (newer, ("diffusers 9.1.0", "patch_order", "update diffusers")),
    (other_rate, ("44101 Hz", "16000 Hz")),
    (other_network, ("LTXVideoTransformer3DModel", "LTX2VideoTransformer3DModel")),
    (patches, ("patch_size is 2",)),
])  # fmt: skip
def test_a_wrong_folder_is_one_line(folder, spoil: Callable[[Path], None], words: tuple[str, ...]):
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_joint_model(folder)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def test_text_encoders_may_be_missing_until_a_prompt_is_encoded(folder):
    rmtree(folder / "text_encoder")
    assert describe(folder)["needs"] == ["Gemma (folder text_encoder)"]
    model = load_joint_model(folder)
    with pytest.raises(
        FileNotFoundError, match=r"^[^\n]+ lacks Gemma \(folder text_encoder\);[^\n]+clip of Prompts for Video and Audio$"
    ):
        model.encode("a ball", "")
    assert model.conditioner.from_embeddings(torch.randn(1, 5, 48), None, None).video.tokens.shape == (1, 1024, 32)
    with pytest.raises(ValueError, match="takes text prompts"):
        model.encode("a ball", "", torch.zeros(64, 64, 3))


def test_another_text_encoder_is_refused(folder):
    change(folder / "text_encoder" / "config.json", model_type="gemma2")
    with pytest.raises(ValueError, match=r"holds gemma2; Duet takes gemma3, gemma4_unified"):
        load_joint_model(folder).encode("a ball", "")


def test_encoded_prompts_are_kept_and_each_modality_has_its_own(small_ltx2):
    model = load_joint_model(small_ltx2)
    both, mixed = model.encode("a ball", ""), model.encode("a ball", "rain")
    assert torch.equal(both.video.tokens, mixed.video.tokens) and not torch.allclose(
        both.audio.tokens, mixed.audio.tokens, atol=1e-2
    )
    model.conditioner._encode = lambda *_: pytest.fail("it was encoded again")
    assert torch.equal(model.encode("rain", "a ball").audio.tokens, both.audio.tokens)


def test_networks_keep_the_chosen_precision(small_ltx2):
    model = load_joint_model(small_ltx2, LoadOptions(dtype="bfloat16"))
    assert model.denoiser.transformer.dtype == model.video_codec.vae.dtype == model.audio_codec.vocoder.dtype == torch.bfloat16
    small = load_joint_model(small_ltx2, LoadOptions(dtype="bfloat16", quantize="fp8"))
    assert small.denoiser.transformer.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn


def test_latents_decode_to_frames_and_back(small_ltx2):
    model = load_joint_model(small_ltx2)
    frames = torch.rand(1, 9, 64, 64, 3)
    vae, latent = model.video_codec.vae, model.video_codec.encode(frames)
    z = vae.encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    view = (1, -1, 1, 1, 1)
    assert torch.equal(latent, (z - vae.latents_mean.view(view)) / vae.latents_std.view(view)) and latent.shape == (1, 8, 2, 2, 2)
    with pytest.raises(ValueError, match="has 1 channels, this codec takes 2"):
        model.audio_codec.encode(torch.zeros(1, 1, 4800))


def test_the_audio_latent_sees_the_spectrogram_of_the_training(small_ltx2):
    """As ComfyUI's audio_vae.py: at 16 kHz, the columns around each hop, of 1024 samples."""
    codec = load_joint_model(small_ltx2).audio_codec
    assert codec.stride == AudioStride(1920, 2, 4, nearest=True) and codec.sample_rate == 48_000
    seconds = torch.arange(48_000) / 48_000
    tone = torch.sin(2 * torch.pi * 440 * seconds).expand(1, 2, -1)
    seen = []
    codec.vae.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    latent = codec.encode(tone)
    (mel,) = seen
    assert latent.shape == (1, 2, 25, 4) and mel.shape == (1, 2, 97, 16)  # 25 steps: 1 column and 24 times 4
    edges = codec.mel.mel_scale.fb.argmax(0) * 16_000 / 1024
    loudest = int(mel[0, 0, 48].argmax())
    assert abs(float(edges[loudest]) - 440) < 250 and mel[0, 0, 48, -1] < mel[0, 0, 48, loudest] - 5
    with torch.no_grad():
        z = codec.vae.encode(mel).latent_dist.mode()
        packed = z.transpose(1, 2).flatten(2)
        expected = (packed - codec.vae.latents_mean) / codec.vae.latents_std
    assert torch.equal(latent.transpose(1, 2).flatten(2), expected)
    longer = codec.encode(torch.cat([tone, torch.zeros(1, 2, 9600)], -1))
    torch.testing.assert_close(longer[:, :, :24], latent[:, :, :24], rtol=0, atol=1e-4)  # the VAE is causal


@pytest.fixture(scope="module")
def video_codec() -> LTX2VideoCodec:
    torch.manual_seed(3)
    return LTX2VideoCodec(_random(AutoencoderKLLTX2Video(**VAE), 0.15))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_chunks_are_those_of_framewise_decoding(video_codec, frames):
    latent = torch.randn(1, 8, frames, 2, 2)
    chunks = list(video_codec.decode_chunks(latent))
    video_codec.vae.use_framewise_decoding = True
    try:
        whole = video_codec.decode(latent)
    finally:
        video_codec.vae.use_framewise_decoding = False
    assert torch.equal(torch.cat(chunks, 1), whole) and whole.shape[1] == 1 + 8 * (frames - 1)
    assert max(chunk.shape[1] for chunk in chunks) <= 9


@pytest.mark.parametrize("height, width", [(4, 6), (3, 5)])  # the last tiles of the second have one cell
def test_large_frames_are_decoded_in_tiles_of_the_vae(video_codec, height, width):
    latent, vae = torch.randn(1, 8, 1, height, width), video_codec.vae
    whole = video_codec.decode(latent)
    vae.enable_tiling(96, 96, tile_sample_stride_height=64, tile_sample_stride_width=64)
    try:
        tiled = video_codec.decode(latent)
    finally:
        vae.use_tiling = False
    assert tiled.shape == whole.shape == (1, 1, 32 * height, 32 * width, 3) and not torch.equal(tiled, whole)
    if width == 6:
        with torch.no_grad():
            pixels = vae.tiled_decode(video_codec._to_vae(latent), None).sample
        assert torch.equal(tiled, (pixels.movedim(1, -1) / 2 + 0.5).clamp(0, 1))


def test_frames_of_one_cell_decode(video_codec):
    assert video_codec.decode(torch.randn(1, 8, 2, 1, 1)).shape == (1, 9, 32, 32, 3)
    assert next(video_codec.decode_chunks(torch.randn(1, 8, 1, 1, 2))).shape == (1, 1, 32, 64, 3)


def test_a_vae_with_times_decodes_at_time_zero():
    torch.manual_seed(3)
    codec = LTX2VideoCodec(_random(AutoencoderKLLTX2Video(**VAE | {"timestep_conditioning": True}), 0.15))
    latent = torch.randn(2, 8, 1, 2, 2)
    mean, std = (x.view(1, -1, 1, 1, 1) for x in (codec.vae.latents_mean, codec.vae.latents_std))
    with torch.no_grad():
        pixels = codec.vae.decode(latent * std + mean, torch.zeros(2), return_dict=False)[0]
    assert torch.equal(codec.decode(latent), (pixels.movedim(1, -1) / 2 + 0.5).clamp(0, 1))
