"""ComfyUI's loaders without ComfyUI; tests/comfyui/test_loaders.py compares them with the real ones."""

import io

import av
import numpy as np
import pytest
import torch
from PIL import Image

from duet_av.benchmarks.make_clip import Sound, write_clip
from duet_av.benchmarks.odd_files import ODD_FILES, make_odd_file
from duet_av.nodes.stand_in.read_file import read_audio, read_images
from duet_av.nodes.stand_in.video import VideoFromFile


@pytest.mark.parametrize(
    "name", ["trimmed.mp4", "raw.h264", "resized.ts", "coverfirst.mp4", "ch16.mkv", "twoaudios.mkv", "one.mkv"]
)
def test_a_video_file_has_the_frames_that_are_shown(name, tmp_path):
    right = ODD_FILES[name].right
    parts = VideoFromFile(make_odd_file(name, tmp_path)).get_components()
    width, height = right.size
    assert parts.images.shape == (right.frames, height, width, 3) and parts.images.dtype == torch.float32
    channels = {"twoaudios.mkv": 1}.get(name, right.channels)  # the last stream
    assert right.click is None or parts.audio["waveform"].shape[:2] == (1, channels)


def test_frames_are_upright_and_dimensions_are_as_stored(tmp_path):
    video = VideoFromFile(make_odd_file("rot90.mp4", tmp_path))
    assert video.get_components().images.shape[1:] == (96, 128, 3) and video.get_dimensions() == (96, 128)


def test_a_part_of_a_file_in_memory(tmp_path):
    content = io.BytesIO(make_odd_file("base.mp4", tmp_path).read_bytes())
    whole, part = (VideoFromFile(content, **window).get_components() for window in ({}, {"start_time": 0.4, "duration": 0.8}))
    assert torch.equal(part.images, whole.images[10:30]) and part.audio["waveform"].shape[-1] == 38_400


def test_properties_of_a_file(tmp_path):
    video = VideoFromFile(make_odd_file("hevc10.mp4", tmp_path))
    assert (video.get_bit_depth(), video.get_color_space(), video.get_dimensions()) == (10, "sRGB", (128, 96))
    assert "major_brand" in video.get_components().metadata


@pytest.mark.parametrize("name", ["cover.mp3", "audioonly.wav", "base.webp", "text.mp4", "empty.mp4"])
def test_what_is_no_video_is_one_line(name, tmp_path):
    with pytest.raises(ValueError, match=name) as caught:
        VideoFromFile(make_odd_file(name, tmp_path)).get_components()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "codec, layout", [("pcm_u8", "mono"), ("pcm_s24le", "stereo"), ("pcm_f64le", "7.1"), ("pcm_s16le", "22.2")]
)
def test_audio_of_every_format_and_layout(codec, layout, tmp_path):
    write_clip(tmp_path / "a.mkv", Sound(codec, layout=layout, seconds=0.2, click=0.1))
    wave, rate = read_audio(tmp_path / "a.mkv")
    assert wave.shape == (av.AudioLayout(layout).nb_channels, 9_600) and rate == 48_000
    assert wave.abs().max() == pytest.approx(0.8, abs=0.01)


def test_a_file_without_audio_is_one_line(tmp_path):
    for name in ("videoonly.mp4", "noaudio.mkv"):
        with pytest.raises(ValueError, match=f"{name} has no audio"):
            read_audio(make_odd_file(name, tmp_path))


@pytest.mark.parametrize("channels", [3, 4])
def test_an_image_with_and_without_transparency(channels, tmp_path):
    pixels = (np.random.default_rng(0).random((20, 30, 4)) * 255).astype(np.uint8)
    Image.fromarray(pixels[..., :channels]).save(tmp_path / "a.png")
    images, mask = read_images(tmp_path / "a.png")
    assert torch.equal(images[0], torch.from_numpy(pixels[..., :3] / np.float32(255)))
    assert torch.equal(mask[0], 1 - torch.from_numpy(pixels[..., 3] / np.float32(255))) if channels == 4 else not mask.any()


def test_the_images_of_an_animation(tmp_path):
    pixels = (np.random.default_rng(0).random((3, 20, 32, 3)) * 255).astype(np.uint8)
    first, *others = map(Image.fromarray, pixels)
    first.save(tmp_path / "a.webp", save_all=True, append_images=others)
    assert read_images(tmp_path / "a.webp")[0].shape == (3, 20, 32, 3)


def test_an_image_is_upright(tmp_path):
    turned = Image.new("RGB", (30, 20))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "a.jpg", exif=exif)
    assert read_images(tmp_path / "a.jpg")[0].shape == (1, 30, 20, 3)
