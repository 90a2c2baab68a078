"""Every size and length that a widget offers works with every model, or one line names what does before anything runs."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from duet_av.av_models import limits
from duet_av.av_models.codecs.oobleck import OobleckCodec
from duet_av.av_models.codecs.wan_vae import WanCodec
from duet_av.av_models.conditioning import JointTextConditioner
from duet_av.av_models.contract import LatentShape
from duet_av.av_models.generation import generate
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint.avfulldit import AVFullDiT
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.av_models.shapes import AVShape, VideoShape
from duet_av.av_models.text import WordEncoder
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode import DuetEncode
from duet_av.nodes.latents import clip_shape, known_parts
from duet_av.tests import pipelines, published, small
from duet_av.tests.test_diffusers_codecs import OOBLECK, WAN
from duet_av.tests.tiny import tiny_model

PAIRS = {
    "svd+audioldm2": ("svd", "audioldm2"),
    "animatediff+audioldm": ("animatediff", "audioldm"),
    "wan+audioldm": ("", "audioldm"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    small.save_joint(root)
    small.save_expert(root, "video_expert")
    for name, make in {
        "svd": published.svd_pipeline, "audioldm2": published.audioldm2_pipeline,
        "animatediff": pipelines.animatediff, "audioldm": pipelines.audioldm,
    }.items():  # fmt: skip
        published.saved(make(), root / name)
    return root


@pytest.fixture(scope="module")
def models(folder):
    """Returns the model of a name, made once."""
    made = {}

    def model(name: str) -> JointModel:
        if name not in made:
            made[name] = MAKERS[name](folder)
        return made[name]

    return model


def pair(name):
    video, audio = PAIRS[name]
    files = (video or "video_expert.safetensors", audio, "video.safetensors", "audio.safetensors")
    return lambda folder: join_experts(*(folder / file for file in files), joint_blocks=2, name=name)


def wan_and_oobleck(folder) -> JointModel:
    codecs = WanCodec(**WAN).eval(), OobleckCodec(**OOBLECK).eval()
    channels = [codec.stride.channels for codec in codecs]
    video = small.video_expert(in_channels=channels[0], out_channels=channels[0])
    texts = [WordEncoder(list(small.VOCABULARY), 7, small.TEXT).eval() for _ in range(2)]
    denoiser = AVFullDiT(video, small.audio_expert(in_channels=channels[1]), 2).eval().requires_grad_(False)
    clip = VideoShape(5, 32, 32, Fraction(16))
    return JointModel({"name": "Wan", "trained": False}, denoiser, *codecs, JointTextConditioner(*texts), clip)


MAKERS = {
    "tiny": lambda folder: tiny_model(), "avfulldit": lambda folder: load_joint_model(folder / "small.safetensors"),
    "wan+oobleck": wan_and_oobleck, **{name: pair(name) for name in PAIRS},
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("width", "height"), [(24, 16), (72, 64), (17, 31)])
def test_every_size_gives_a_clip_of_exactly_that_size(models, name, width, height):
    model = models(name)
    shape = model.shape(frames=3, width=width, height=height)
    image = torch.rand(height, width, 3) if model.takes_image else None
    clip = generate(model, image=image, shape=shape, schedule=SamplingSchedule(1))
    assert clip.frames.shape == (3, height, width, 3) and clip.waveform.shape[-1] == shape.audio.samples
    assert torch.isfinite(clip.frames).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("seconds", "fps"), [(0.05, 6.0), (0.05, 120.0), (0.1, 23.98)])
def test_every_length_gives_whole_frames_and_audio_as_long(models, name, seconds, fps):
    model = models(name)
    shape = model.shape(seconds=seconds, fps=fps, height=16, width=16)
    clip = generate(model, shape=shape, schedule=SamplingSchedule(1))
    assert len(clip.frames) == max(1, round(seconds * Fraction(fps))) == shape.video.frames
    assert clip.waveform.shape[-1] == round(shape.video.seconds * shape.audio.sample_rate)


def test_the_node_makes_a_size_between_two_patches(models):
    model = models("avfulldit")
    latent = DuetEmptyLatent.execute(model, 0.2, 2, {"size": "custom", "width": 72, "height": 64, "fps": 16.0}).args[0]
    assert latent["samples"].unbind()[0].shape[-2:] == (8, 10)
    images, audio, fps = DuetDecode.execute(model, latent).args
    assert images.shape == (6, 64, 72, 3)
    assert clip_shape({"samples": latent["samples"]}, model).video.width == 80  # what another node hands on without the size


def test_the_nearest_sizes_are_named_where_a_clip_is_cropped(models):
    model, custom = models("avfulldit"), {"size": "custom", "width": 72, "height": 64, "fps": 16.0}
    lines = DuetEmptyLatent.execute(model, 0.2, 1, custom).shown["text"]
    near = "because Small makes multiples of 16; nearest sizes: 64×64 and 80×64"
    assert lines[1] == f"72×64 is cropped from 80×64, {near}"
    for width in (64, 80):
        assert len(DuetEmptyLatent.execute(model, 0.2, 1, custom | {"width": width}).shown["text"]) == 1
    assert "nearest sizes: 16×64" in DuetEmptyLatent.execute(model, 0.2, 1, custom | {"width": 8}).shown["text"][1]


def test_a_clip_longer_than_those_of_the_training_is_made_and_said(models):
    model, size = models("tiny"), {"size": "as trained"}
    assert len(DuetEmptyLatent.execute(model, 2.0, 1, size).shown["text"]) == 1
    output = DuetEmptyLatent.execute(model, 2.5, 1, size)
    assert output.shown["text"][1] == "2.5 s is longer than the 2 s of Tiny's training" and output.shown["duet"][0]["frames"] == 40


def test_a_clip_of_a_size_between_two_patches_is_encoded_and_decoded_with_its_size(models):
    model = models("avfulldit")
    model = replace(model, clip=replace(model.clip, width=40, height=24))
    latent = DuetEncode.execute(model, 16.0, 0.0, {"keep": "what is connected"}, images=torch.rand(5, 24, 40, 3)).args[0]
    assert latent["noise_mask"].unbind()[0].shape[-2:] == latent["samples"].unbind()[0].shape[-2:] == (4, 6)
    assert DuetDecode.execute(model, latent).args[0].shape == (5, 24, 40, 3)


def test_a_drawn_mask_covers_the_frames_and_not_what_is_cropped(models):
    model = models("avfulldit")
    latent = DuetEmptyLatent.execute(model, 0.2, 1, {"size": "custom", "width": 72, "height": 64, "fps": 16.0}).args[0]
    mask = torch.ones(64, 72)
    mask[:, :56] = 0  # keeps 7 of 9 columns
    known = known_parts(latent | {"noise_mask": mask}, model=model).video
    assert known[0, 0, 0, 0].tolist() == [True] * 7 + [False] * 3


@pytest.mark.parametrize(("name", "frames"), [("avfulldit", 509), ("animatediff+audioldm", pipelines.MOST_FRAMES)])
def test_a_clip_that_is_too_long_is_refused_with_the_limit(models, name, frames):
    model = models(name)
    fps = model.clip.fps
    assert model.shape(frames=frames).video.frames == frames
    with pytest.raises(ValueError, match=rf"{frames + 1} frames, which are .* takes at most {frames}, "):
        model.shape(frames=frames + 1)
    with pytest.raises(ValueError, match=f"at most {frames}, {float(frames / fps):.4g} s at {float(fps):g} frames per second"):
        DuetEmptyLatent.execute(model, 600.0, 1, {"size": "as trained"})


def test_the_longest_clip_of_a_wan_is_sampled(models):
    model = models("avfulldit")
    shape = model.shape(frames=509, height=16, width=16, fps=120)
    assert len(generate(model, shape=shape, schedule=SamplingSchedule(1)).frames) == 509


@pytest.mark.parametrize("name", MAKERS)
def test_an_absurd_clip_is_refused_with_the_limit(models, name):
    with pytest.raises(ValueError, match=r"at most \d+"):
        models(name).shape(seconds=1e9)
    with pytest.raises(ValueError, match=r"^width is 1000000; .* takes at most \d+"):
        models(name).shape(frames=3, width=10**6)
    with pytest.raises(ValueError, match=r"^height is 1000000; .* takes at most \d+"):
        models(name).shape(frames=3, height=10**6)


def test_more_memory_than_there_is_is_refused_before_it_is_taken(models, monkeypatch):
    monkeypatch.setattr(limits, "_memory", lambda: 2 * 10**9)
    size = {"size": "custom", "width": 4096, "height": 4096, "fps": 16.0}
    with pytest.raises(ValueError, match=r"^64 clips of 16 frames of 4096×4096 need 207\.5 GB, and this computer has 2 GB"):
        DuetEmptyLatent.execute(models("tiny"), 1.0, 64, size)
    with pytest.raises(ValueError, match="^a clip of 160 frames of 4096×4096 needs"):
        generate(models("tiny"), shape=models("tiny").shape(seconds=10, height=4096, width=4096))


def test_a_system_that_does_not_say_its_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(limits, "_limits", lambda: [])
    limits.check_memory(AVShape.of_frames(10**6, 4096, 4096, 16, 16000), LatentShape((1, 1), (1, 1)))


@pytest.mark.parametrize("fps", [1e-9, 0.0, -1.0, float("nan"), float("inf")])
def test_a_frame_rate_that_is_none_is_refused(models, fps):
    with pytest.raises(ValueError, match="^fps is "):
        models("tiny").shape(fps=fps)


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_none_from_another_node_is_refused(models, batch):
    with pytest.raises(ValueError, match=f"^batch is {batch}; use at least 1"):
        DuetEmptyLatent.execute(models("tiny"), 0.5, batch, {"size": "as trained"})


@pytest.mark.parametrize("seconds", [1e308, float("inf"), float("nan"), 0.0])
def test_a_length_that_is_none_is_refused(models, seconds):
    with pytest.raises(ValueError, match="^seconds is .*; give a number above 0"):
        DuetEmptyLatent.execute(models("tiny"), seconds, 1, {"size": "as trained"})
