"""Stable Audio Open, Stable Audio 3 and ACE-Step beside Wan: never woven, each with its own scheduler, length and scale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from duet_av.av_models.generation import generate
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert
from duet_av.av_models.published.load_published import load_published
from duet_av.benchmarks.file_cells import fault_of_line
from duet_av.benchmarks.small_models import stable_audio

CLIP = {"frames": 5, "height": 32, "width": 32, "fps": 15}


def joined(video, audio, text=None):
    options = ExpertOptions(text_encoder=text)
    return join_experts(video, audio, "", "", name="Pair", clip=CLIP, audio_options=options)


@pytest.mark.parametrize(
    "fixture, why, scale, samples",
    [
        ("small_stable_audio", "the experts' head sizes differ: video 32, audio 64; use two with the same", 7.0, 14700),
        ("small_stable_audio_3", "the experts' head sizes differ: video 32, audio 16; use two with the same", 1.0, 14700),
        ("small_ace_step", "ACE-Step 1.5 is used without joint layers: it takes a context beside its latents", 6.0, 16000),
    ],
)
def test_a_pair_with_wan_says_why_it_is_not_woven_and_makes_a_sounding_video(small_wan, fixture, why, scale, samples, request):
    model = joined(small_wan, request.getfixturevalue(fixture))
    assert isinstance(model.denoiser, SeparateExperts) and f"no joint layers: {why}" in model.card["notes"]
    assert model.recommended.scales["cfg"] == {"video_scale": 5.0, "audio_scale": scale}
    schedule = model.make_schedule(model.latent_shape(model.shape()), steps=2)
    assert schedule.parity and (schedule.audio_scheduler is not None or fixture == "small_stable_audio")  # which needs torchsde
    clip = generate(model, "a ball", "rain", schedule=schedule)
    assert clip.frames.shape == (5, 32, 32, 3) and clip.waveform.shape == (2, samples) and clip.warnings == ()
    assert torch.isfinite(clip.waveform).all() and clip.waveform.std() > 0


def test_a_checkpoint_makes_a_clip_too_and_its_length_reaches_the_network(small_wan, small_stable_audio_files):
    text = small_stable_audio_files / stable_audio.TEXT_ENCODER
    model = joined(small_wan, small_stable_audio_files / stable_audio.CHECKPOINT, text)
    assert model.denoiser_for(model.shape()).audio.seconds == pytest.approx(1 / 3)
    schedule = model.make_schedule(model.latent_shape(model.shape()), steps=2)
    assert generate(model, "a ball", "rain", schedule=schedule).waveform.std() > 0
    with pytest.raises(ValueError, match="^the clip is 4 s long; use at most 2.975 s, the longest clip of this audio model$"):
        model.latent_shape(model.shape(seconds=4))


@pytest.mark.parametrize(
    "fixture, name, value",
    [
        ("small_stable_audio", "num_layers", "2"),
        ("small_stable_audio", "sample_size", 10**9),
        ("small_stable_audio_3", "num_heads", 0),
        ("small_stable_audio_3", "embed_dim", [32]),
        ("small_ace_step", "head_dim", None),
    ],
)
def test_an_impossible_setting_is_named_in_one_line(fixture, name, value, request, tmp_path):
    folder = Path(shutil.copytree(request.getfixturevalue(fixture), tmp_path / "copy"))
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: value}))
    assert find_expert(folder) is not None or isinstance(value, list)
    with pytest.raises(ValueError) as error:
        load_published(folder, "audio")
    assert str(folder) in str(error.value) and not fault_of_line(str(error.value))
