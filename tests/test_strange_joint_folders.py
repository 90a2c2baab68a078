"""Damaged folders of published joint models give one line, and settings that no model takes too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.published.joint import describe
from duet_av.av_models.sampling import sample
from duet_av.benchmarks.file_cells import fault_of_line
from duet_av.commands import main as duet
from duet_av.tests.kandinsky6 import clip, draw_noise, prompted

SHARD = "diffusion_pytorch_model-00002-of-00003.safetensors"
FAMILIES = ("small_kandinsky6", "small_ltx2", "small_ovi")


@pytest.fixture(params=FAMILIES)
def small(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def copied(small, tmp_path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


@pytest.fixture
def kandinsky6(small_kandinsky6, tmp_path) -> Path:
    return Path(shutil.copytree(small_kandinsky6, tmp_path / "copy"))


@pytest.fixture
def ltx2(small_ltx2, tmp_path) -> Path:
    return Path(shutil.copytree(small_ltx2, tmp_path / "copy"))


def refused(act, *words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        act()
    text = str(error.value)
    assert not fault_of_line(text), text
    assert all(word in text for word in words), text


def test_a_shard_of_another_part_is_refused(kandinsky6):
    shutil.copy(kandinsky6 / "vae" / "diffusion_pytorch_model.safetensors", kandinsky6 / "transformer" / SHARD)
    refused(lambda: load_joint_model(kandinsky6), "transformer", "lacks")


def test_an_impossible_compression_is_named_when_it_loads(kandinsky6):
    file = kandinsky6 / "audio_vae" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_rate": 10_000_000}))
    refused(lambda: load_joint_model(kandinsky6), "sample_rate is 10000000")


def test_a_config_that_cannot_be_read_is_one_line(kandinsky6):
    for name in ("vae/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json"):
        file = kandinsky6 / name
        file.unlink()
        file.mkdir()
        refused(lambda: load_joint_model(kandinsky6), name, "cannot be read")


@pytest.mark.parametrize("name", ["vae/config.json", "vae/diffusion_pytorch_model.safetensors", f"transformer/{SHARD}"])
@pytest.mark.parametrize("family", ["kandinsky6", "ltx2"])
def test_what_links_to_nothing_is_named_as_missing(request, family, name, capsys):
    folder = request.getfixturevalue(family)
    (folder / name).unlink()
    (folder / name).symlink_to("../../blobs/away")
    part = name.partition("/")[0]
    assert any(part in each for each in describe(folder)["needs"])
    assert duet(["info", str(folder)]) == 0
    assert f"{part}" in capsys.readouterr().out.partition("missing:")[2]
    refused(lambda: load_joint_model(folder), name)


def test_a_tokenizer_without_its_words_is_missing(copied):
    (copied / "tokenizer" / "tokenizer.json").unlink()
    assert any("tokenizer" in each for each in describe(copied)["needs"])
    model = load_joint_model(copied)
    refused(lambda: model.encode("a ball", ""), "tokenizer")


def test_a_tokenizer_of_another_encoder_is_one_line(kandinsky6):
    shutil.copy(kandinsky6 / "tokenizer_2" / "tokenizer.json", kandinsky6 / "tokenizer" / "tokenizer.json")
    model = load_joint_model(kandinsky6)
    refused(lambda: model.encode("a ball", ""), "tokenizer", "download both again")


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_setting_of_another_kind_is_one_line_without_loading(kandinsky6):
    change(kandinsky6 / "transformer" / "config.json", visual_token_type_num_embeddings=["a"])
    refused(lambda: describe(kandinsky6), str(kandinsky6))


def test_a_scheduler_with_settings_of_another_model_is_refused_when_it_is_loaded(kandinsky6):
    change(kandinsky6 / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True)
    refused(lambda: load_joint_model(kandinsky6), str(kandinsky6))


def test_steps_out_of_range_and_half_a_character_are_taken_well(small):
    model = load_joint_model(small)
    latents = model.latent_shape(model.shape(frames=1))
    for steps in (0, -1, 2.5, 10**12):
        refused(lambda: model.make_schedule(latents, steps), f"steps is {steps}")  # noqa: B023 (called at once)
    half, mark = (model.encode(f"a {text} ball", "").video.tokens for text in ("\ud83d", "?"))
    assert torch.equal(half, mark)


def test_a_row_of_which_only_the_first_frame_is_known_is_as_alone_beside_one_of_which_all_is_known(small_kandinsky6):
    model = load_joint_model(small_kandinsky6)
    sizes = model.latent_shape(clip(model), 2)
    latent = AVLatent(*(torch.randn(shape, generator=torch.Generator().manual_seed(5)) for shape in (sizes.video, sizes.audio)))
    video = torch.zeros(2, 1, sizes.video[2], 1, 1, dtype=torch.bool)
    video[:, :, 0] = True
    video[1] = True
    audio = torch.zeros(1, 1, 1, dtype=torch.bool)

    def sampled(rows: slice, count: int) -> AVLatent:
        part = AVLatent(latent.video[rows], latent.audio[rows])
        known = KnownParts(part, AVLatent(video[rows], audio), *model.known_modes)
        seeds = [3, 4][rows]
        noise = NoiseSource(model.latent_shape(clip(model), count), seeds, seeds)
        schedule = model.make_schedule(noise.shape, 2)
        return sample(prompted(model), noise, make_guidance("none"), schedule, known=known).latent

    both = sampled(slice(0, 2), 2)
    for row in range(2):
        alone = sampled(slice(row, row + 1), 1)
        torch.testing.assert_close(both.video[row : row + 1], alone.video, atol=1e-4, rtol=0)
        torch.testing.assert_close(both.audio[row : row + 1], alone.audio, atol=1e-4, rtol=0)
    assert not torch.equal(both.video[0, :, 0], latent.video[0, :, 0])
    assert torch.equal(both.video[1], latent.video[1])


def test_distilled_weights_are_no_bad_model(small_kandinsky6, small_kandinsky6_distilled):
    models = [prompted(load_joint_model(folder)) for folder in (small_kandinsky6, small_kandinsky6_distilled)]
    noise = draw_noise(load_joint_model(small_kandinsky6))
    guidance = make_guidance("autoguidance", 2.0)
    refused(lambda: sample(models[0], NoiseSource(noise), guidance, bad_model=models[1]), "bad_model", "distilled")


def test_connectors_of_another_version_are_refused_when_they_are_loaded(ltx2, small_ltx2_versions):
    shutil.rmtree(ltx2 / "transformer")
    shutil.copytree(small_ltx2_versions["2.0"] / "transformer", ltx2 / "transformer")
    refused(lambda: load_joint_model(ltx2), "connectors", "[32, 16]", "[24, 24]", "same version")


def test_text_encoders_of_other_widths_are_one_line(small_kandinsky6):
    model = load_joint_model(small_kandinsky6)
    model.conditioner._encode.widths = (3584, 768)
    refused(lambda: model.encode("a ball", ""), str(small_kandinsky6), "(3584, 768)")
