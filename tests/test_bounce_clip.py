import json

import pytest
import torch

from duet_av.bounce.detect.attributes import observe
from duet_av.bounce.world.captions import VOCABULARY
from duet_av.nodes.bounce_clip import DuetBounceClip


def clip(seed=3, split="val", balls="any"):
    return DuetBounceClip.execute(seed, split, balls).args


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    first, again, other = clip(), clip(), clip(seed=4)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1]["waveform"], again[1]["waveform"])
    assert first[2:6] == again[2:6] and not torch.equal(first[0], other[0])


def test_it_returns_frames_audio_and_captions_from_the_vocabulary():
    images, audio, video_caption, audio_caption, fps, _, video = clip()
    assert images.shape == (32, 64, 64, 3) and 0 <= images.min() and images.max() <= 1 and fps == 16.0
    assert audio["waveform"].shape == (1, 1, 32_000) and audio["sample_rate"] == 16_000
    parts = video.get_components()
    assert parts.images is images and parts.audio is audio and parts.frame_rate == 16
    assert set(f"{video_caption} {audio_caption}".split()) <= set(VOCABULARY)


def test_contact_times_match_the_frames_and_the_audio():
    images, audio, _, _, fps, times, _ = clip(balls="1")
    seen = observe(images, audio["waveform"][0], audio["sample_rate"], fps)
    assert json.loads(times) == pytest.approx(seen.contacts, abs=0.06)
    assert json.loads(times) == pytest.approx(seen.onsets, abs=0.06)


@pytest.mark.parametrize("balls", ["1", "2"])
def test_it_has_as_many_balls_as_asked(balls):
    images, audio, *_ = clip(balls=balls)
    assert observe(images, audio["waveform"][0], audio["sample_rate"], 16.0).count == int(balls)


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_seed_and_split_gives_a_clip(seed, split):
    assert len(clip(seed, split)[0]) == 32
