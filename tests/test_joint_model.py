import re
from fractions import Fraction

import pytest
import torch

from duet_av.av_models.checkpoint import load_checkpoint, save_checkpoint
from duet_av.av_models.contract import AVLatent, CouplingKind
from duet_av.av_models.generation import generate
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint_model import JointModel
from duet_av.bounce.shipped import load_joint_model
from duet_av.commands import main
from duet_av.tests import small
from duet_av.tests.sample_with import sample_with


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small.save_joint(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> JointModel:
    return load_joint_model(folder / "small.safetensors")


def refused(path, *parts: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_joint_model(path)
    message = str(error.value)
    assert "\n" not in message and all(part in message for part in parts), message


def test_it_comes_whole_from_its_file(model):
    assert model.name == "Small" and model.trained is False
    assert model.clip.frames == 8 and model.clip.fps == 16
    assert not model.denoiser.training and not any(p.requires_grad for p in model.denoiser.parameters())
    assert model.denoiser.audio.rope_scale == small.ROPE_SCALE
    expected = small.joint().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.denoiser.state_dict().items())


def test_joined_experts_are_untrained_and_each_is_itself(tmp_path):
    experts = [small.save_expert(tmp_path, kind) for kind in ("video_expert", "audio_expert")]
    codecs = [
        small.save_codec(tmp_path / "video.safetensors", small.video_codec()),
        small.save_codec(tmp_path / "audio.safetensors", small.audio_codec()),
    ]
    clip = {"frames": 8, "height": 32, "width": 32, "fps": 16}
    model = join_experts(*experts, *codecs, joint_blocks=2, clip=clip, name="Pair")
    assert model.name == "Pair" and not model.trained
    latent, t, cond = small.latent(), small.times(), small.condition()
    out = model.denoiser.predict(latent, t, cond, [CouplingKind.REMOVED] * 2)
    assert torch.equal(out.video, small.video_expert()(latent.video, t.video, cond.video))
    assert torch.equal(out.audio, small.audio_expert()(latent.audio, t.audio, cond.audio))


def test_its_towers_are_experts_that_joined_again_make_the_same_apart(model, folder, tmp_path):
    for kind in ("video_expert", "audio_expert"):
        assert main(["convert", kind, str(folder / "small.safetensors"), str(tmp_path / f"{kind}.safetensors")]) == 0
    files = [tmp_path / f"{kind}.safetensors" for kind in ("video_expert", "audio_expert")]
    codecs = [folder / f"{modality}.safetensors" for modality in ("video", "audio")]
    again = join_experts(*files, *codecs, joint_blocks=3, name="again")
    assert again.clip == model.clip
    asked = [each.encode("a red ball", "a metal ball") for each in (model, again)]
    kept, made = (each.denoiser.predict(small.latent(1), small.times(1), condition, [CouplingKind.REMOVED])
                  for each, condition in zip((model, again), asked))  # fmt: skip
    assert torch.equal(made.video, kept.video) and torch.equal(made.audio, kept.audio)


def test_only_an_avfulldit_has_towers(tmp_path, capsys):
    path = small.save_joint(tmp_path, architecture="JointDiT")
    assert main(["convert", "video_expert", str(path), str(tmp_path / "out.safetensors")]) == 2
    assert "has architecture 'JointDiT'; use a file with architecture AVFullDiT" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_it_encodes_one_row_for_each_prompt(model):
    cond = model.encode("a red ball", "")
    assert cond.video.tokens.shape == (1, 7, small.TEXT) and int(cond.video.mask.sum()) == 3
    assert bool((cond.audio.tokens == 0).all()) and not bool(cond.audio.mask.any())
    assert not cond.video.tokens.requires_grad


def test_unknown_words_are_named_by_prompt_with_the_nearest(model):
    assert model.ignored_prompts("a red ball", "metal bounces") == []
    assert model.ignored_prompts("a reed ball", "metall bounces") == [
        "video_prompt: unknown word 'reed' ignored (similar known words: red)",
        "audio_prompt: unknown word 'metall' ignored (similar known words: metal, ball)",
    ]


def test_a_shape_is_as_trained_where_nothing_is_asked(model):
    shape = model.shape()
    assert (shape.video.frames, shape.video.height, shape.video.width) == (8, 32, 32)
    assert shape.audio.samples == 8000 and shape.audio.sample_rate == 16_000
    shape = model.shape(seconds=1.0, height=40, fps=24)
    assert (shape.video.frames, shape.video.height, shape.video.width) == (24, 40, 32)
    assert shape.video.fps == Fraction(24) and shape.audio.samples == 16_000


@pytest.mark.parametrize("name", ["frames", "height", "width", "fps", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_zero_negative_and_nan_are_not_as_trained(model, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}; give "):
        model.shape(**{name: value})


def test_seconds_and_frames_are_one_too_many(model):
    with pytest.raises(ValueError, match="seconds is 1.0 and frames is 9; use only one"):
        model.shape(seconds=1.0, frames=9)


@pytest.mark.parametrize("frames, height, width", [(1, 32, 32), (7, 30, 33), (9, 32, 32)])
def test_decoding_trims_to_what_was_asked(model, frames, height, width):
    shape = model.shape(frames=frames, height=height, width=width)
    size = model.latent_shape(shape, batch=2)
    pictures, sound = model.decode(AVLatent(torch.randn(size.video), torch.randn(size.audio)), shape)
    assert pictures.shape == (2, frames, height, width, 3)
    assert sound.shape == (2, 1, frames * 1000)


@pytest.mark.parametrize("negatives", ["blue", ("blue",)])
def test_generate_needs_two_negative_prompts(model, negatives):
    with pytest.raises(ValueError, match="negative_prompts is .*; give two, for video and for audio"):
        generate(model, "a ball", "a ball", negative_prompts=negatives)


def test_from_prompts_to_picture_and_sound(model):
    shape = model.shape(frames=6)
    guidance = make_guidance("joint_cfg", video_scale=2.0, audio_scale=2.0)
    out = sample_with(model.denoiser, model.latent_shape(shape), model.encode("a red ball", "metal bounces"),
                 model.encode("", ""), guidance, steps=2)  # fmt: skip
    pictures, sound = model.decode(out.latent, shape)
    assert pictures.shape == (1, 6, 32, 32, 3) and sound.shape == (1, 1, 6000) and out.warnings == ()
    assert bool(pictures.isfinite().all()) and bool(sound.isfinite().all())


def test_it_does_every_coupling(model):
    assert model.denoiser.kinds == frozenset(CouplingKind) and model.denoiser.prediction == "flow"


# Files that do not fit.


def test_a_missing_model_is_named(tmp_path):
    refused(tmp_path / "none.safetensors", "no model file", "none.safetensors")


def test_a_file_of_another_kind_is_named(folder):
    refused(folder / "video.safetensors", "video.safetensors", "kind None", "joint")


@pytest.mark.parametrize("change, parts", [
    ({"architecture": "MMDiT"}, ["architecture 'MMDiT'", "AVFullDiT"]),
    ({"architecture": "JointDiT"}, ["card does not describe a JointDiT", "'edm'"]),
    ({"kind": "video_expert"}, ["kind 'video_expert'"]),
    ({"joint_blocks": 9}, ["joint_blocks is 9", "1 to 4"]),
    ({"joint_blocks": 2}, ["unexpected keys new_heads.2."]),
    ({"video": {"config": small.video_config(ffn_dim=80), "text": {"vocabulary": []}}}, ["ffn", "(64,", "(80,"]),
])  # fmt: skip
def test_a_card_that_does_not_fit_its_tensors_is_named(tmp_path, change, parts):
    refused(small.save_joint(tmp_path, **change), "small.safetensors" if "9" not in str(change) else "", *parts)


def test_a_truncated_model_is_named(tmp_path):
    path = small.save_joint(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    refused(path, str(path), "not a complete safetensors file")


def test_a_missing_codec_is_named(tmp_path):
    path = small.save_joint(tmp_path)
    (tmp_path / "audio.safetensors").unlink()
    refused(path, "no model file", "audio.safetensors")


@pytest.mark.parametrize("modality, codec", [("video", small.video_codec(9)), ("audio", small.audio_codec(9))])
def test_a_codec_of_other_channels_is_named_with_both_numbers(tmp_path, modality, codec):
    path = small.save_joint(tmp_path)
    small.save_codec(tmp_path / f"{modality}.safetensors", codec)
    wanted = {"video": small.VIDEO_CHANNELS, "audio": small.AUDIO_CHANNELS}[modality]
    refused(path, f"denoises {wanted} {modality} channels", f"{modality}.safetensors has 9")


def test_a_codec_of_the_other_modality_is_named(tmp_path):
    path = small.save_joint(tmp_path)
    small.save_codec(tmp_path / "audio.safetensors", small.video_codec(small.AUDIO_CHANNELS))
    refused(path, "audio.safetensors is a PatchVideoCodec, which is not for audio")


def test_a_model_lacking_a_tensor_names_it(tmp_path):
    path = small.save_joint(tmp_path)
    tensors, card = load_checkpoint(path)
    gone = next(key for key in tensors if re.match(r"denoiser\.new_heads\.0\.to_q\.weight", key))
    del tensors[gone]
    save_checkpoint(path, tensors, card)
    refused(path, "AVFullDiT", "new_heads.0.to_q.weight")
