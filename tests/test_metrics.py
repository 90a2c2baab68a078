import json

import numpy as np
import pytest
import torch

from duet_av.av_models.metrics import intervals, matching
from duet_av.av_models.metrics.onsets import detect_onsets
from duet_av.bounce.binder import load_bounce_bind
from duet_av.bounce.detect import quality
from duet_av.bounce.detect.attributes import observe
from duet_av.bounce.detect.balls import count_balls, find_spots, track_balls
from duet_av.bounce.detect.contacts import find_contacts
from duet_av.bounce.measure.evaluate import attributes, evaluate, motion_residual, requested_balls, true_clips
from duet_av.bounce.measure.likeness import likeness
from duet_av.bounce.world.world import FPS, SECONDS, simulate

N = 40


@pytest.fixture(scope="module", params=[1, 2], ids=["one ball", "two balls"])
def seen(request):
    """True worlds, their clips, and what was observed of them."""
    worlds = simulate(N, "val", seed=0, balls=request.param)
    clips = list(true_clips(worlds))
    return worlds, clips, [observe(*clip, FPS) for clip in clips]


def _struck(seconds, times, rate, pitch=700.0, decay=0.3, level=0.3):
    """Strikes of one ringing body with a click each, [1, samples]."""
    t = np.arange(round(seconds * rate)) / rate
    wave = np.zeros_like(t)
    for time in times:
        after = t >= time
        ring = np.sin(2 * np.pi * pitch * (t - time)) * np.exp(-(t - time) / decay)
        click = 0.3 * np.random.default_rng(0).standard_normal(len(t)) * np.exp(-(t - time) / 0.004)
        wave[after] += level * (ring + click)[after]
    return wave[None]


class TestMatching:
    def test_is_one_to_one(self):
        assert matching.match([1.0], [0.99, 1.0, 1.01]).counts.tolist() == [1, 1, 3]

    def test_finds_the_most_pairs_where_greedy_would_not(self):
        """The nearest pair (0.04, 0.05) would leave both others alone."""
        found = matching.match([0.0, 0.04], [0.05, 0.09], tolerance=0.06)
        assert found.pairs.tolist() == [[0, 0], [1, 1]]

    def test_prefers_the_nearest_among_equals(self):
        assert matching.match([1.0], [0.95, 1.01]).pairs.tolist() == [[0, 1]]

    def test_misses_and_sign(self):
        found = matching.match([0.5, 1.0, 1.5], [1.02])
        assert (found.missed, found.spurious) == (2, 0)
        assert matching.median_offset_ms([found]) == pytest.approx(20)

    def test_the_tolerance_itself_is_within(self):
        assert len(matching.match([1.0], [1.0 + 1 / 16]).pairs) == 1
        assert len(matching.match([1.0], [1.0 + 1.01 / 16]).pairs) == 0

    def test_agrees_with_trying_everything(self):
        from itertools import combinations, permutations

        rng = np.random.default_rng(0)
        for _ in range(40):
            a, b = np.sort(rng.random(3)), np.sort(rng.random(4))
            best = max(
                sum(abs(a[i] - b[j]) <= 0.15 for i, j in zip(rows, columns))
                for rows in combinations(range(3), 3)
                for columns in permutations(range(4), 3)
            )
            assert len(matching.match(a, b, 0.15).pairs) == best

    def test_empty_lists(self):
        assert matching.f1(matching.match([], []).counts) == 1
        assert matching.f1(matching.match([], [1.0]).counts) == 0
        assert np.isnan(matching.median_offset_ms([]))

    def test_unfinished_times_are_refused(self):
        with pytest.raises(ValueError, match="contain NaN or infinity"):
            matching.match([1.0, np.inf], [1.0])


class TestOnsets:
    def test_true_clips(self, seen):
        worlds, _, observed = seen
        assert _against_truth(worlds, [o.onsets for o in observed]) >= 0.97

    def test_silence_has_none(self):
        assert len(detect_onsets(np.zeros((1, 16_000)), 16_000)) == 0
        assert len(detect_onsets(np.zeros((1, 3)), 16_000)) == 0
        assert len(detect_onsets(np.zeros((2, 0)), 16_000)) == 0

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
    def test_any_rate_and_over_a_tail_of_the_same_pitch(self, rate):
        times = [0.0, 0.3, 0.47, 1.2]
        found = detect_onsets(_struck(1.6, times, rate), rate)
        np.testing.assert_allclose(found, times, atol=0.012)

    def test_stereo_and_level_do_not_matter(self):
        wave = _struck(1.0, [0.2, 0.6], 16_000)
        for same in (np.concatenate([wave, 0.2 * wave]), 0.05 * wave, torch.from_numpy(wave)):
            np.testing.assert_allclose(detect_onsets(same, 16_000), [0.2, 0.6], atol=0.012)

    def test_a_steady_tone_has_one(self):
        tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
        assert len(detect_onsets(tone, 16_000)) <= 1

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="waveform"):
            detect_onsets(np.zeros((1, 2, 100)), 16_000)


class TestContacts:
    def test_true_clips(self, seen):
        worlds, _, observed = seen
        assert _against_truth(worlds, [o.contacts for o in observed]) >= 0.97

    def test_blurred_and_noisy_pictures(self, seen):
        worlds, clips, _ = seen
        rng = np.random.default_rng(0)
        found = []
        for frames, _, _ in clips:
            rough = np.clip(_blurred(frames.numpy()) + 0.03 * rng.standard_normal(frames.shape), 0, 1)
            found.append(find_contacts(track_balls(find_spots(rough), len(rough)), FPS))
        assert _against_truth(worlds, found) >= 0.95

    def test_a_ball_that_vanishes_for_a_frame_adds_none(self, seen):
        worlds, clips, _ = seen
        found = []
        for frames, _, _ in clips:
            frames = frames.clone()
            frames[13] = 0.3
            found.append(find_contacts(track_balls(find_spots(frames), len(frames)), FPS))
        assert _against_truth(worlds, found) >= 0.95

    def test_an_empty_scene_has_none(self):
        spots = find_spots(np.full((32, 64, 64, 3), 0.3))
        assert track_balls(spots, 32) == [] and len(find_contacts([], FPS)) == 0
        assert count_balls(spots, 32).tolist() == [0] * 32

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="frames have shape"):
            find_spots(np.zeros((64, 64, 3)))


class TestAttributes:
    def test_true_clips(self, seen):
        worlds, _, observed = seen
        right = [attributes(clip, requested_balls(worlds, row)) for row, clip in enumerate(observed)]
        for name in ("colour", "size", "count", "count_every_frame"):
            assert all(r[name] for r in right), name
        for name in ("material_heard", "size_heard"):
            assert np.mean([r[name] for r in right]) >= 0.95, name

    def test_another_clips_attributes_are_wrong(self, seen):
        worlds, _, observed = seen
        balls = [requested_balls(worlds, row) for row in range(N)]
        for name in ("colour", "size", "material_heard"):
            assert np.mean([attributes(o, b)[name] for o, b in zip(observed, balls[1:])]) < 0.6, name

    def test_a_second_ball_for_one_frame_is_counted(self):
        frames, wave, rate = next(iter(true_clips(simulate(1, "val", seed=0, balls=1))))
        frames[5, 5:15, 5:15] = torch.tensor([0.1, 0.8, 0.2])
        clip = observe(frames, wave, rate, FPS)
        assert clip.count == 1 and clip.counts[5] == 2 and len(clip.seen) == 1

    def test_motion_is_ballistic(self, seen):
        assert motion_residual(seen[2], 64) < 0.15


class TestQuality:
    def test_psnr(self):
        true = np.zeros((2, 4, 4, 3))
        assert quality.psnr(true, true) == float("inf")
        assert quality.psnr(true + 0.1, true) == pytest.approx(20, abs=1e-3)
        with pytest.raises(ValueError, match="differ in shape"):
            quality.psnr(true, true[:1])

    def test_ball_pixels_are_balls(self):
        frames, _, _ = next(iter(true_clips(simulate(1, "val", seed=0, balls=1))))
        frames = frames.numpy()
        assert 40 < quality.ball_mask(frames).sum((1, 2)).mean() < 330
        squares, values = quality.ball_errors(np.where(quality.ball_mask(frames)[..., None], frames + 0.1, frames), frames)
        assert quality.decibels(squares / values) == pytest.approx(20, abs=0.01)

    def test_log_spectral_distance_of_half_as_loud_noise_is_six_decibels(self):
        noise = np.random.default_rng(0).standard_normal((1, 16_000)) * 0.3
        assert quality.log_spectral_distance(noise / 2, noise) == pytest.approx(6.02, abs=0.05)
        assert quality.log_spectral_distance(noise, noise) == 0

    def test_inaudible_differences_are_none(self):
        noise = np.random.default_rng(0).standard_normal((1, 16_000)) * 1e-4
        assert quality.log_spectral_distance(noise, 0 * noise) == 0


class TestIntervals:
    def test_f1_interval_holds_the_figure_and_narrows(self):
        rng = np.random.default_rng(0)
        counts = np.stack([rng.binomial(4, 0.8, 400), np.full(400, 4), np.full(400, 4)], -1)
        low, high = intervals.f1_interval(counts)
        assert low < matching.f1(counts.sum(0)) < high and 0.02 < high - low < 0.06

    def test_wilson(self):
        assert intervals.proportion_interval(0, 0) == pytest.approx((np.nan, np.nan), nan_ok=True)
        low, high = intervals.proportion_interval(196, 200)
        assert (low, high) == pytest.approx((0.9497, 0.9922), abs=1e-3)
        assert intervals.proportion_interval(50, 50)[1] == 1.0

    def test_mean(self):
        low, high = intervals.mean_interval(np.arange(100))
        assert 40 < low < 49.5 < high < 59


def test_evaluate_true_clips():
    worlds = simulate(12, "test", seed=0, balls=1)
    figures = evaluate(true_clips(worlds), worlds, true_clips(worlds))
    assert json.loads(json.dumps(figures)) == figures
    assert figures["n"] == 12 and figures["sync_f1"] == figures["ceiling"] >= 0.95
    assert figures["chance"] < 0.5 and figures["detector"]["contacts_f1"] >= 0.95
    assert figures["attributes"]["colour"] == 1 and figures["held_out"]["n"] == worlds.held_out().sum()
    assert abs(figures["offset_ms"]) < 5
    assert figures["sync_normalised"] == 1 and figures["sync_normalised_ci"][1] <= 1


def test_sync_is_normalised_between_chance_and_ceiling():
    worlds = simulate(12, "test", seed=0, balls=1)
    sounds = [wave for _, wave, _ in true_clips(worlds)]
    swapped = ((frames, sounds[(row + 1) % 12], rate) for row, (frames, _, rate) in enumerate(true_clips(worlds)))
    figures = evaluate(swapped, worlds, true_clips(worlds))
    low, high = figures["sync_normalised_ci"]
    assert low <= figures["sync_normalised"] <= high and abs(figures["sync_normalised"]) < 0.3
    assert evaluate(true_clips(worlds), worlds)["sync_normalised"] is None


def test_likeness_tells_true_pairs_from_swapped_ones():
    worlds, binder = simulate(70, "val", seed=0), load_bounce_bind()
    clips = list(true_clips(worlds))
    swapped = [(clips[row - 1][0], wave, rate) for row, (_, wave, rate) in enumerate(clips)]
    true, combine_couplings = (likeness(each, clips, binder, FPS) for each in (clips, swapped))
    assert true["similarity"]["mean"] > combine_couplings["similarity"]["mean"] + 0.3
    assert abs(true["frechet"]) < 1e-3 and true["motion"]["mean"] == pytest.approx(combine_couplings["motion"]["mean"])
    still = [(np.repeat(np.asarray(frames)[:1], len(frames), 0), wave, rate) for frames, wave, rate in clips]
    found = likeness(still, clips, binder, FPS)
    assert found["motion"]["mean"] == 0 and found["frechet"] > 0.01


def test_evaluate_wants_a_clip_for_each_prompt():
    worlds = simulate(2, "val", seed=0)
    with pytest.raises(ValueError, match="1 clips for 2 prompts"):
        evaluate(true_clips(worlds[:1]), worlds)


def _against_truth(worlds, found):
    counts = [matching.match([t for t in times if t < SECONDS], events).counts for times, events in zip(worlds.contact_time, found)]
    return matching.f1(np.sum(counts, 0))


def _blurred(frames):
    """Every frame blurred by a 3 × 3 binomial."""
    for axis in (1, 2):
        frames = 0.5 * frames + 0.25 * (np.roll(frames, 1, axis) + np.roll(frames, -1, axis))
    return frames
