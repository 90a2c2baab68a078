"""PE-AV gives the numbers of transformers' processor and classes, and gradients reach frames and sound in bounded memory.

The numbers of pe_av_reference.json were made by transformers and timm on the same clip and the same random weights.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from duet_av.av_models.binders import pe_av as networks
from duet_av.av_models.binders.base import cosine_distance, time_distance
from duet_av.av_models.binders.load_binder import load_binder
from duet_av.av_models.binders.pe_av_features import Processing, audio_features, chosen_frames
from duet_av.av_models.published.detect import detect
from duet_av.benchmarks.small_models import pe_av as small
from duet_av.commands import main
from duet_av.tests.pe_av_reference import FPS, NUMBERS, RATE, TEXTS, clip, theirs

CLOSE = 1e-5


@pytest.fixture(scope="module")
def binder(small_pe_av):
    return load_binder(small_pe_av)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "mine"
    small.build(folder, frames=16)
    return folder


def ours(binder, frames, wave):
    seen, heard = binder.embed_video_times(frames, FPS), binder.embed_audio_times(wave, RATE)
    return {
        "video": binder.embed_video(frames, FPS), "audio": binder.embed_audio(wave, RATE), "frames": seen.tracks[0].features,
        "steps": heard.tracks[0].features[:, ::20], "audio_video": binder.embed_both(frames, wave, RATE),
        "text_video": binder.embed_text_for(TEXTS, "video"), "text_audio": binder.embed_text_for(TEXTS, "audio"),
        "text_audio_video": binder.embed_text(TEXTS),
    }  # fmt: skip


@pytest.mark.parametrize("variant", ["all", "16"])
def test_embeddings_are_those_of_transformers(variant, binder, few):
    """The sound is longer than the parts that it is encoded in."""
    numbers = json.loads(NUMBERS.read_text())[variant]
    found = ours(binder if variant == "all" else load_binder(few), *clip())
    assert found.keys() == numbers.keys()
    for name, x in found.items():
        assert (x[..., ::4].flatten() - torch.tensor(numbers[name])).abs().max() < CLOSE, name


def test_embeddings_are_those_of_the_installed_classes(binder, small_pe_av):
    pytest.importorskip("timm")
    frames, wave = clip(frames=3, samples=5_000)
    reference = theirs(small_pe_av, frames, wave)
    assert all((x - reference[name]).abs().max() < CLOSE for name, x in ours(binder, frames, wave).items())


@pytest.mark.parametrize("samples", [1, 100, 1500, 1920, 2881])
def test_the_end_of_a_sound_is_reflected_as_numpy_does(samples):
    import numpy as np

    wave = torch.sin(torch.arange(samples) * 1.7)[None, None]
    padded = np.pad(wave[0, 0].numpy(), (0, -samples % 1920), "reflect")
    assert torch.equal(audio_features(wave, RATE, Processing(32))[0, 0], torch.from_numpy(padded))


def test_frames_are_chosen_as_the_processor_does():
    assert chosen_frames(5, None) == [0, 1, 2, 3, 4]
    assert chosen_frames(31, 16) == list(range(0, 31, 2)) and chosen_frames(1, 16) == [0] * 16 and chosen_frames(9, 1) == [0]


def test_gradients_reach_picture_and_sound_in_every_part(binder):
    """transformers' class stops those of the sound. What is recomputed in parts has the gradient of the whole."""
    frames, wave = (part[:1].clone().requires_grad_() for part in clip())
    cosine_distance(binder.embed_video(frames, FPS), binder.embed_audio(wave, RATE)).sum().backward()
    assert frames.grad.abs().sum((0, 2, 3, 4)).min() > 0 and wave.grad[0, 0].split(9_600)[-1].abs().sum() > 0
    assert frames.grad.isfinite().all() and wave.grad.isfinite().all()


def test_parts_do_not_change_the_gradient(binder, monkeypatch):
    gradients = []
    for at_once in (1, 100):
        monkeypatch.setattr(networks, "FRAMES_AT_ONCE", at_once)
        monkeypatch.setattr(networks, "STEPS_AT_ONCE", 5 * at_once)
        frames, wave = (part[:1].clone().requires_grad_() for part in clip(frames=3, samples=40_000))
        cosine_distance(binder.embed_video(frames, FPS), binder.embed_audio(wave, RATE)).sum().backward()
        gradients.append((frames.grad, wave.grad))
    for one, other in zip(*gradients):
        assert (one - other).abs().max() < 1e-5 * one.abs().max()


def test_what_is_kept_for_the_backward_pass_is_the_input(binder):
    """Neither the activations of a frame, nor those of the sound's encoder at full rate."""

    def kept(frames, samples):
        sizes = []
        moving = [part[:1].clone().requires_grad_() for part in clip(frames, samples)]
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append((x.data_ptr(), x.numel())) or x, lambda x: x):
            loss = cosine_distance(binder.embed_video(moving[0], FPS), binder.embed_audio(moving[1], RATE)).sum()
        assert loss.requires_grad
        return sum(dict(sizes).values()) / sum(part.numel() for part in moving)

    assert kept(8, 400_000) < 3


def test_a_rate_and_channels_of_any_number_are_taken(binder):
    low = torch.sin(torch.arange(8_000) * 0.3).expand(1, 2, -1)
    assert binder.embed_audio(low, 16_000).shape == (1, 32)
    assert binder.describe_audio(2, 8_000, 16_000) == "16000 Hz to 48000 Hz, 2 channels mixed to mono"
    assert binder.describe_video(120, 720, 1280, 24) == "120 of 120 frames, 1280×720 resized to 32×32"


def test_a_picture_is_a_video_of_one_frame(binder, few):
    frames, _ = clip()
    assert torch.equal(binder.embed_image(frames[:, 0]), binder.embed_video(frames[:, :1], FPS))
    sixteen = load_binder(few)
    assert sixteen.describe_video(1, 40, 56, FPS).startswith("1 of 1 frames")
    still = frames[:, :1].expand(-1, 16, -1, -1, -1)
    torch.testing.assert_close(sixteen.embed_image(frames[:, 0]), sixteen.embed_video(still, FPS))


def test_half_precision_is_near(binder):
    frames, wave = clip(frames=3, samples=9_600)
    with torch.autocast("cpu", torch.bfloat16):
        rough = binder.embed_video(frames, FPS), binder.embed_audio(wave, RATE)
    for one, other in zip(rough, (binder.embed_video(frames, FPS), binder.embed_audio(wave, RATE))):
        assert 1e-7 < cosine_distance(one.float(), other).max() < 0.03


def test_a_clip_later_is_apart_in_time(binder):
    frames, wave = clip()
    seen = binder.embed_video_times(frames, FPS).tracks[0]
    assert seen.seconds.tolist() == [(i + 0.5) / 16 for i in range(9)] and seen.duration == 9 / 16
    heard = binder.embed_audio_times(wave, RATE).tracks[0]
    assert heard.seconds[:2].tolist() == pytest.approx([0.02, 0.06]) and len(heard.seconds) == 105
    assert time_distance(seen, seen).abs().max() < 1e-6 < time_distance(seen, heard).min()


def test_a_folder_is_named_and_its_licence_shown(binder, small_pe_av, few, capsys, tmp_path):
    assert binder.licence == "PE-AV's weights: Apache-2.0" and binder.name == "PE-AV" and not binder.training
    assert detect(few).model == "PE-AV, a binder of width 32 that sees 16 frames, Apache-2.0" and detect(few).kind == "binder"
    assert main(["info", str(small_pe_av)]) == 0
    assert "PE-AV, a binder of width 32 that sees all frames, Apache-2.0, 184,776 parameters, fp32" in capsys.readouterr().out
    named = tmp_path / "pe-av-small-16-frame"
    shutil.copytree(small_pe_av, named)
    assert load_binder(named).settings.frames == 16


def test_files_of_other_layouts_are_the_same(small_pe_av, binder, tmp_path):
    """The processor in one file; tied tensors under another of their names; no tokenizer."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(small_pe_av, folder := tmp_path / "other")
    parts = {
        name: json.loads((folder / file).read_text())
        for name, file in (("feature_extractor", "preprocessor_config.json"), ("video_processor", "video_preprocessor_config.json"))
    }
    for file in ("preprocessor_config.json", "video_preprocessor_config.json", "tokenizer.json"):
        (folder / file).unlink()
    parts["video_processor"]["image_mean"] = [0.4, 0.5, 0.5]
    (folder / "processor_config.json").write_text(json.dumps(parts))
    own, tied = "video_model.video_encoder.", "audio_video_encoder.embedder.video_encoder."
    tensors = {name.replace(own, tied): x for name, x in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    other = load_binder(folder)
    assert other.settings.mean == (0.4, 0.5, 0.5) and "text" not in other.modalities
    with pytest.raises(ValueError, match="PE-AV has no tokenizer, so it cannot embed text; download its tokenizer.json too"):
        other.embed_text(TEXTS)
    _, wave = clip(samples=5_000)
    assert torch.equal(other.embed_audio(wave, RATE), binder.embed_audio(wave, RATE))


def _without_weights(folder):
    (folder / "model.safetensors").unlink()


def _of_another_class(folder):
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | {"model_type": "pe_audio"}))


def _cut_short(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])


def _of_other_sizes(folder):
    config = json.loads((folder / "config.json").read_text())
    config["audio_video_config"]["audio_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))


def _of_another_tower(folder):
    config = json.loads((folder / "config.json").read_text())
    config["audio_video_config"]["video_config"]["vision_config"]["architecture"] = "resnet18"
    (folder / "config.json").write_text(json.dumps(config))


def _of_another_type(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"text_config": "small"}))


def _of_another_side(folder):
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": {"height": 64, "width": 64}}))


@pytest.mark.parametrize("harm, error, said", [
    (_without_weights, FileNotFoundError, "has no weights, such as model.safetensors; finish the download: hf download face"),
    (_of_another_class, ValueError, "holds a model of type 'pe_audio', which is no binder; use PE-AV: hf download facebook/pe-av-"),
    (_cut_short, ValueError, "is not a complete safetensors file"),
    (_of_other_sizes, ValueError, "does not fit PE-AV: missing keys audio_model.audio_encoder.layers.2"),
    (_of_another_tower, ValueError, "its picture tower is 'resnet18'; use a model with one of vit_pe_core_tiny"),
    (_of_another_type, ValueError, "does not describe a PE-AV: Validation error for field 'text_config'"),
    (_of_another_side, ValueError, "its processor makes frames of .64. pixels and audio steps of 1920 samples, but its networks"),
    (lambda folder: (folder / "config.json").unlink(), FileNotFoundError, "has no config.json; use the folder of a binder"),
    (lambda folder: (folder / "config.json").write_text("{"), ValueError, "is not valid JSON"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), ValueError, "does not describe a PE-AV"),
])  # fmt: skip
def test_a_bad_folder_is_one_line(harm, error, said, small_pe_av, tmp_path):
    shutil.copytree(small_pe_av, folder := tmp_path / "bad")
    harm(folder)
    with pytest.raises(error, match=said) as caught:
        load_binder(folder)
    assert "\n" not in str(caught.value)


def test_a_sound_of_no_length_is_one_line(binder):
    with pytest.raises(ValueError, match="^the sound has no samples; use one of at least 0.03 s$"):
        binder.embed_audio(torch.zeros(1, 1, 0), RATE)
