"""ImageBind's pre-processing and networks give the reference implementation's numbers, and gradients reach the input.

The numbers of imagebind_reference.json were made by the authors' own code, on the same clip and the same weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from duet_av.av_models.binders.base import cosine_distance, require_modalities
from duet_av.av_models.binders.imagebind import ImageBind, load_imagebind
from duet_av.av_models.binders.imagebind_features import MEAN, STD, audio_features, clip_times, video_features
from duet_av.av_models.checkpoint import load_checkpoint
from duet_av.bounce.world.render import render
from duet_av.bounce.world.sound import render_sound
from duet_av.bounce.world.world import simulate
from duet_av.commands import main
from duet_av.tests.imagebind_weights import by_formula

REFERENCE = json.loads((Path(__file__).parent / "imagebind_reference.json").read_text())
FPS, RATE = 16, 16_000


@pytest.fixture(scope="module")
def clip():
    world = simulate(1, "val", seed=3)
    wave = torch.from_numpy(render_sound(world))[:, None].repeat(1, 1, 2)[..., :56_000]
    return torch.from_numpy(render(world, 96))[:, :32, 10:90].float() / 255, wave


@pytest.fixture(scope="module")
def binder() -> ImageBind:
    ids = torch.where(torch.arange(77) == 9, 49407, torch.arange(77) % 7 * 100)
    small = ImageBind(lambda texts: ids.expand(len(texts), -1), out=24, vision=(32, 2, 4), text=(32, 2, 4), audio=(48, 2, 4))
    small.load_state_dict(by_formula(small.state_dict()))
    return small.eval().requires_grad_(False)


def close(ours: torch.Tensor, theirs: list[float]) -> None:
    torch.testing.assert_close(ours.flatten(), torch.tensor(theirs), rtol=1e-3, atol=2e-4)


def test_filter_banks_are_the_references(clip):
    features = audio_features(clip[1], RATE)
    assert features.shape == (1, 3, 1, 128, 204)
    for number, theirs in enumerate(REFERENCE["mel"]):
        close(features[0, number, 0, 5 * number + 3 :: 31, ::50], theirs)


def test_it_says_in_numbers_what_it_uses(binder):
    assert binder.describe_video(300, 720, 1280, 30) == (
        "10 of 300 frames, 1280×720 resized to 398×224, cropped to 224×224 at three places"
    )
    assert binder.describe_video(32, 224, 224, 16).startswith("2 of 32 frames, ")
    assert binder.describe_image(400, 300) == "300×400 resized to 224×298, cropped to 224×224"
    assert binder.describe_audio(2, 441_000, 44_100) == "3 parts of 2 s of 10 s, 44100 Hz to 16000 Hz, the first of 2 channels"


def test_crops_are_the_references(clip):
    features = video_features(clip[0], FPS)
    assert features.shape == (1, 3, 3, 2, 224, 224)  # two seconds: one clip
    for number, theirs in enumerate(REFERENCE["crops"]):
        close(features[0, number, :, 1, 40::60, ::75], theirs)


def test_embeddings_are_the_references(clip, binder):
    close(binder.embed_video(clip[0], FPS), REFERENCE["video"])
    close(binder.embed_audio(clip[1], RATE), REFERENCE["audio"])
    close(binder.embed_text(["anything"]), REFERENCE["text"])


def test_a_picture_is_a_video_that_stands_still(clip, binder):
    square = clip[0][:, :, :, :80]
    still = square[:, :1].expand(-1, 32, -1, -1, -1)
    # scaled up, bicubic and bilinear differ a little
    assert cosine_distance(binder.embed_image(square[:, 0]), binder.embed_video(still, FPS)) < 0.02


def test_gradients_reach_picture_and_sound(clip, binder):
    frames, wave = (part.clone().requires_grad_() for part in clip)
    cosine_distance(binder.embed_video(frames, FPS), binder.embed_audio(wave, RATE)).sum().backward()
    assert frames.grad.abs().sum() > 0 and wave.grad.abs().sum() > 0
    assert frames.grad.isfinite().all() and wave.grad.isfinite().all()


@pytest.mark.parametrize("seconds, clips, expected", [
    (1.0, 3, [(0.0, 2.0)]),
    (5.0, 3, [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0)]),
    (4.0, 5, [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0), (1.5, 3.5), (2.0, 4.0)]),
])  # fmt: skip
def test_clips_are_spread_evenly(seconds, clips, expected):
    assert sum(clip_times(seconds, clips), ()) == pytest.approx(sum(expected, ()))


@pytest.mark.parametrize("count, fps, shown", [
    (125, 25.0, [(0, 49), (19, 68), (38, 87), (57, 106), (75, 124)]),  # starts at 0, 18.75, 37.5, 56.25 and 75, rounded up
    (32, 16.0, [(0, 31)]),
    (9, 16.0, [(0, 8)]),
    (2, 0.5, [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]),
])  # fmt: skip
def test_a_clip_is_shown_by_the_frames_that_the_reference_takes(count, fps, shown):
    grey = torch.arange(count).div(200).view(1, -1, 1, 1, 1).expand(1, -1, 8, 8, 3)
    seen = video_features(grey, fps)[0, : len(shown), 0, :, 0, 0] * STD[0] + MEAN[0]
    assert seen.mul(200).round().int().tolist() == [list(each) for each in shown]


def test_without_a_tokenizer_there_is_no_text():
    binder = ImageBind(out=8, vision=(16, 1, 2), text=(16, 1, 2), audio=(16, 1, 2))
    with pytest.raises(ValueError, match="ImageBind cannot embed text, only audio, image, video; choose another task or binder"):
        require_modalities(binder, "video", "text")


PUBLISHED = {
    "modality_preprocessors.vision.cls_token": torch.ones(1),
    "modality_trunks.imu.blocks.0.norm_1.weight": torch.ones(1),
    "modality_postprocessors.text.1.log_logit_scale": torch.ones(1),
}


def test_the_published_file_is_converted_once(tmp_path, capsys):
    """What is used of it is kept, and its licence is said."""
    torch.save(PUBLISHED, tmp_path / "imagebind_huge.pth")
    assert main(["convert", "imagebind", str(tmp_path / "imagebind_huge.pth"), str(tmp_path / "imagebind.safetensors")]) == 0
    tensors, card = load_checkpoint(tmp_path / "imagebind.safetensors")
    assert set(tensors) == {"modality_preprocessors.vision.cls_token"} and "non-commercial" in card["licence"]
    assert "non-commercial" in capsys.readouterr().out
    with pytest.raises(ValueError, match="does not fit ImageBind: missing keys"):
        load_imagebind(tmp_path / "imagebind.safetensors")


@pytest.mark.parametrize("content, said", [
    (None, "there is no file"),
    (b"not a checkpoint", "is not a checkpoint that contains only tensors"),
    ({"optimizer": print}, "is not a checkpoint that contains only tensors"),
    ({"model": torch.ones(1)}, "contains no ImageBind tensors"),
])  # fmt: skip
def test_what_is_no_imagebind_is_one_line(tmp_path, capsys, content, said):
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    assert main(["convert", "imagebind", str(path), str(tmp_path / "out.safetensors")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out.safetensors").exists()
