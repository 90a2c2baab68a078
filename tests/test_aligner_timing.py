"""With a binder that sees time, the aligner weighs *when* apart from *what*."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from duet_av.av_models.binders.base import Track, sees_time, time_distance
from duet_av.av_models.binders.ensemble import BinderEnsemble
from duet_av.av_models.contract import AVLatent
from duet_av.av_models.latent_aligner import Aligner, Reference
from duet_av.tests.tiny import tiny_model
from duet_av.tests.toy_binder import Clock, Quarters

FLASH = Reference(video=(torch.arange(9) == 5).float().view(1, 9, 1, 1, 1).expand(1, -1, 16, 16, 3), fps=16.0)
timed = partial(Aligner, binder=Clock(), task="v2a", words=0.0, other=0.0, timing=1.0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def track(values, rate, start=0.0):
    features = torch.as_tensor(values, dtype=torch.float32).view(1, -1, 1)
    count = features.shape[1]
    return Track(features, start + (torch.arange(count) + 0.5) / rate, count / rate)


def latents(model, seed=1) -> AVLatent:
    size = model.latent_shape(model.shape())
    return AVLatent(*(torch.randn(each, generator=torch.Generator().manual_seed(seed)) for each in (size.video, size.audio)))


def test_what_is_always_there_has_no_weight_and_what_changes_together_is_near():
    pulse = (torch.arange(20) == 8).float()
    assert time_distance(track(pulse, 20), track(3 * pulse + 7, 20)).item() == pytest.approx(0, abs=1e-6)
    assert time_distance(track(pulse, 20), track(-pulse, 20)).item() == pytest.approx(2)
    assert time_distance(track(pulse, 20), track(pulse.roll(3), 20)).item() > 1
    assert time_distance(track(pulse, 20), track(torch.ones(20), 20)).item() == 1


def test_tracks_of_different_rates_meet_in_seconds():
    """The coarse one is shown longer at each step, and the end of the longer one is left out."""
    coarse, fine = track([0, 1, 0, 0], 4), track([0, 0, 1, 1, 0, 0, 0, 0, 5, 5], 8)
    assert time_distance(coarse, fine).item() == time_distance(fine, coarse).item() == pytest.approx(0, abs=1e-6)


def test_a_still_track_gives_no_nan():
    still = torch.ones(1, 8, 3, requires_grad=True)
    time_distance(Track(still, torch.arange(8) / 8, 1.0), track(range(8), 8)).sum().backward()
    assert still.grad.isfinite().all()


def test_the_sound_is_moved_to_the_moment_of_the_picture(model):
    alignment = timed(audio_rate=0.1, update="sign", inner_steps=30).begin(model, model.shape(), ("", ""), FLASH)
    before = latents(model)
    after = alignment.move_latents(before, lambda x: x)
    assert alignment.losses[0] > 0.7 and alignment.loss(after).item() < 0.3
    assert torch.equal(before.video, after.video)


def test_timing_adds_to_the_other_distances_and_zero_asks_nothing_of_the_binder(model):
    class Silent(Clock):
        def embed_video_times(self, frames, fps):
            raise AssertionError("not asked for")

    latent = latents(model)

    def loss(**settings):
        return timed(**settings).begin(model, model.shape(), ("", ""), FLASH).loss(latent).item()

    assert loss(other=2.0, timing=3.0) == pytest.approx(2 * loss(other=1.0, timing=0.0) + 3 * loss())
    assert loss(binder=Silent(), other=1.0, timing=0.0) == loss(other=1.0, timing=0.0)


@pytest.mark.parametrize("chosen, turns", [(0, False), (2, False), (2, True)])
def test_frames_that_were_left_out_do_not_move_the_others_in_time(model, monkeypatch, chosen, turns):
    """Each decoded frame is compared at the time at which the whole clip shows it; the last is cut off there."""
    shape, seen = model.shape(), []
    latent = latents(model)
    whole = model.decode_video_with_grad(latent.video, shape).mean((0, 2, 3, 4))
    monkeypatch.setattr("duet_av.av_models.alignment.time_distance", lambda a, b: seen.append(a) or torch.zeros(1))
    aligner = timed(task="joint", latent_frames=chosen, turns=turns)
    alignment = aligner.begin(model, shape, ("", ""))
    for _ in range(3):
        alignment.loss(latent)
    for each in seen:
        frames = each.seconds * float(shape.video.fps)
        assert each.duration == (33 if chosen else 32) / 16
        torch.testing.assert_close(whole[frames.long().clamp(max=31)], each.features[0, :, 0])
    assert len({tuple(each.seconds.tolist()) for each in seen}) == (3 if turns else 1)


@pytest.mark.parametrize("save_memory", [False, True])
def test_in_half_precision_and_from_saved_memory_the_gradient_is_near(model, save_memory):
    moved = []
    for half in (False, True):
        aligner = timed(task="joint", update="gradient", video_rate=1.0, audio_rate=1.0, half=half, save_memory=save_memory)
        moved.append(aligner.begin(model, model.shape(), ("", "")).move_latents(latents(model), lambda x: x))
    torch.testing.assert_close(moved[0].audio, moved[1].audio, atol=0.02, rtol=0.02)
    assert not torch.equal(moved[0].audio, latents(model).audio) and not torch.equal(moved[0].video, latents(model).video)


def test_of_several_binders_those_that_see_time_measure_it(model):
    both = BinderEnsemble(Quarters(), Clock())
    assert sees_time(both) and not sees_time(BinderEnsemble(Quarters()))
    latent = latents(model)
    losses = [timed(binder=each).begin(model, model.shape(), ("", ""), FLASH).loss(latent).item()
              for each in (both, Clock(), BinderEnsemble(Clock(), Clock()))]  # fmt: skip
    assert losses == pytest.approx([losses[0]] * 3)
    embedded = both.embed_video_times(FLASH.video, 16.0)
    assert len(embedded.tracks) == 1 and torch.equal(embedded.embedding, both.embed_video(FLASH.video, 16.0))


def test_timing_is_enough_to_align_to(model):
    aligner = Aligner(binder=Clock(), task="joint", words=0.0, other=0.0, timing=1.0)
    assert math.isfinite(aligner.begin(model, model.shape(), ("", "")).loss(latents(model)).item())


@pytest.mark.parametrize("settings, said", [
    ({"binder": Quarters()}, "^timing is 1, but Quarters does not see when things happen; set timing to 0, or choose a binder"),
    ({"latent_frames": 1}, "^timing is 1, but one latent frame has no course in time; set timing to 0$"),
    ({"timing": -1.0}, "^timing is -1.0; use a number of at least 0$"),
    ({"timing": float("nan")}, "^timing is nan; use a number of at least 0$"),
])  # fmt: skip
def test_timing_that_cannot_be_measured_is_one_line(settings, said):
    with pytest.raises(ValueError, match=said):
        timed(**settings)


def test_an_image_has_no_course():
    class Pictures(Clock):
        modalities = frozenset({"image", "audio"})

    with pytest.raises(ValueError, match="^timing is 1, but an image has no course in time; set timing to 0$"):
        timed(binder=Pictures(), task="i2a")


def test_a_clip_of_one_frame_has_no_course(model):
    said = "^timing is 1, but a clip or a sound of one step has no course in time; set timing to 0$"
    with pytest.raises(ValueError, match=said):
        timed().begin(model, model.shape(), ("", ""), Reference(video=FLASH.video[:, :1], fps=16.0))
    latent = latents(model)
    with pytest.raises(ValueError, match=said):
        timed(task="joint").begin(model, model.shape(frames=1), ("", "")).loss(AVLatent(latent.video[:, :, :1], latent.audio))
