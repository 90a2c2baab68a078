"""Core's nodes take what ours make, and ours what core's make."""

import shutil

import numpy as np
import pytest
import torch

from duet_av.av_models.media import read_video
from duet_av.av_models.metrics.score import score_file
from duet_av.tests.comfyui.graphs import DECODE, LATENT, MODEL, SAMPLER, node, saved, short
from duet_av.tests.foley import assert_only_the_sound_is_new, foley, write_noise

SECONDS, FRAMES, RATE = 0.65, 10, 16000  # no whole number of latent frames: what a latent overhangs must not show


def test_a_latent_taken_apart_and_joined_by_core_is_the_same(comfyui):
    graph = short(seed=21, seconds=SECONDS)
    graph |= {
        "apart": node("LTXVSeparateAVLatent", av_latent=[SAMPLER, 0]),
        "joined": node("LTXVConcatAVLatent", video_latent=["apart", 0], audio_latent=["apart", 1]),
        "again": node("DuetDecode", model=[MODEL, 0], latent=["joined", 0]),
        "saved": saved(["again", 0], ["again", 2], "joined", audio=["again", 1]),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    clips = [read_video(file) for file in run.files]
    assert len(clips) == 2 and len(clips[0].frames) == FRAMES
    assert torch.equal(clips[0].frames, clips[1].frames) and torch.equal(clips[0].audio, clips[1].audio)


@pytest.mark.parametrize("taken", ["picture", "sound"])
def test_core_may_take_one_stream_from_another_latent(comfyui, taken):
    graph = short(seed=22, seconds=SECONDS)
    graph |= {
        "made": node("LTXVSeparateAVLatent", av_latent=[SAMPLER, 0]),
        "empty": node("LTXVSeparateAVLatent", av_latent=[LATENT, 0]),
        "joined": node(
            "LTXVConcatAVLatent",
            video_latent=["empty" if taken == "picture" else "made", 0],
            audio_latent=["empty" if taken == "sound" else "made", 1],
        ),
        "again": node("DuetDecode", model=[MODEL, 0], latent=["joined", 0]),
        "saved": saved(["again", 0], ["again", 2], "joined", audio=["again", 1]),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    joined, made = (read_video(file) for file in sorted(run.files, key=lambda file: "joined" not in file.name))
    assert torch.equal(joined.frames, made.frames) == (taken == "sound")
    assert torch.equal(joined.audio, made.audio) == (taken == "picture")


def test_core_makes_a_video_of_what_is_decoded(comfyui):
    graph = short(seed=23, seconds=SECONDS)
    graph |= {
        "video": node("CreateVideo", images=[DECODE, 0], fps=[DECODE, 2], audio=[DECODE, 1]),
        "saved": node("SaveVideo", video=["video", 0], filename_prefix="core", format="mp4", **{"format.codec": "auto"}),
        "heard": node("PreviewAudio", audio=[DECODE, 1]),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    (file,) = (file for file in run.files if file.name.startswith("core"))
    clip = read_video(file)
    assert len(clip.frames) == FRAMES and float(clip.fps) == 16 and clip.sample_rate == RATE
    assert abs(clip.audio.shape[1] - FRAMES * RATE // 16) <= 1024  # core ends at a whole block of the codec


@pytest.fixture(scope="module")
def clip_name(comfyui) -> str:
    """A video in ComfyUI's input folder."""
    (file,) = comfyui.run(short(seed=24)).files
    shutil.copy(file, comfyui.base / "input" / "clip.mp4")
    return "clip.mp4"


def test_what_core_loads_of_a_video_is_encoded_and_measured(comfyui, clip_name):
    graph = short(seed=25)
    graph |= {
        "video": node("LoadVideo", file=clip_name),
        "parts": node("GetVideoComponents", video=["video", 0]),
        LATENT: node("DuetEncode", model=[MODEL, 0], images=["parts", 0], audio=["parts", 1], fps=["parts", 2], seconds=1.0,
                     **{"keep": "a beginning", "keep.until": 0.25}),
        "whole": node("DuetSyncReport", video=["video", 0], fps=1.0),
        "taken apart": node("DuetSyncReport", images=["parts", 0], audio=["parts", 1], fps=["parts", 2]),
    }  # fmt: skip
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    (file,) = run.files
    assert len(read_video(file).frames) == 16
    scored = score_file(comfyui.base / "input" / clip_name)
    assert run.texts["whole"] == scored.measurements() + scored.warnings()
    assert run.texts["taken apart"][0] == run.texts["whole"][0]
    assert run.texts["taken apart"][-1] == "the audio is 192 samples (12 ms) longer than the video"  # what AAC appends


def test_what_core_loads_of_a_picture_and_a_sound_is_encoded(comfyui, clip_name):
    from PIL import Image

    picture = np.linspace(0, 255, 33 * 21 * 4).reshape(21, 33, 4).astype(np.uint8)  # odd sizes, and alpha
    Image.fromarray(picture, "RGBA").save(comfyui.base / "input" / "odd.png")
    graph = short(seed=26)
    graph |= {
        "picture": node("LoadImage", image="odd.png"),
        "sound": node("LoadAudio", audio=clip_name),
        LATENT: node("DuetEncode", model=[MODEL, 0], images=["picture", 0], audio=["sound", 0], fps=16.0, seconds=0.0,
                     keep="what is connected"),
    }  # fmt: skip
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    (file,) = run.files
    assert len(read_video(file).frames) == 8


def test_a_video_that_core_loads_gets_an_aligned_sound_and_keeps_its_pictures(comfyui):
    source = comfyui.base / "input" / "mine.mp4"
    write_noise(source)
    run = comfyui.run(foley("mine.mp4", steps=3))
    assert run.succeeded, run.messages
    (file,) = run.files
    assert_only_the_sound_is_new(source, file)
