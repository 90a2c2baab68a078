"""The meter that works on any sounding video."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from duet_av import commands
from duet_av.av_models.media import open_video, read_video, write_video
from duet_av.av_models.metrics import matching
from duet_av.av_models.metrics.loudness import measure_loudness
from duet_av.av_models.metrics.motion_events import MotionMeter, find_motion_events
from duet_av.av_models.metrics.offset import estimate_lag
from duet_av.av_models.metrics.score import score_clip, score_file
from duet_av.av_models.metrics.sound_events import OnsetMeter
from duet_av.av_models.metrics.sync import measure_sync
from duet_av.av_models.metrics.timeline import MATCHED, MISSED, draw_timeline
from duet_av.nodes.host import InputImpl, Types
from duet_av.nodes.sync_report import DuetSyncReport

TIMES = np.array([0.61, 1.37, 1.8, 2.93, 3.62, 4.46, 5.3, 5.75])  # seconds, at no regular distance
SECONDS = 6.4


def clicks(times, rate=16_000, seconds=SECONDS, channels=1, late=0.0, noise=0.0):
    """Short bursts of noise at `times`, [channels, samples]."""
    rng = np.random.default_rng(0)
    wave = noise * rng.standard_normal(round(seconds * rate))
    for time in times:
        begin = round((time + late) * rate)
        length = min(round(0.05 * rate), len(wave) - begin)
        wave[begin : begin + length] += 0.4 * rng.standard_normal(length) * np.exp(-np.arange(length) / (0.01 * rate))
    return torch.from_numpy(wave).float().clamp(-0.99, 0.99).repeat(channels, 1)


def on_frames(times, fps):
    """`times` as a picture can show them."""
    return np.ceil(times * fps - 1e-9) / fps


def disc(places, size=(48, 64), radius=6.0):
    """A soft light disc at `places` [F, 2] (x, y in pixels) before a grey ground, [F, H, W, 3]."""
    y, x = np.mgrid[: size[0], : size[1]]
    far = np.hypot(x - places[:, 0, None, None], y - places[:, 1, None, None])
    return torch.from_numpy(0.4 + 0.5 / (1 + np.exp(2 * (far - radius)))).float()[..., None].expand(-1, -1, -1, 3)


def jumps(times, fps, seconds=SECONDS):
    """A disc that is somewhere else from each of `times` on."""
    n = np.searchsorted(np.sort(times), np.arange(round(seconds * fps)) / fps + 1e-9, "right")
    return disc(np.stack([14 + 12.0 * (n % 4), 16 + 16.0 * (n // 2 % 2)], -1))


def turns(times, fps, seconds=SECONDS, speed=18.0):
    """A disc that goes steadily and turns back at each of `times`."""
    edges = np.concatenate([[0.0], times])
    ways = np.concatenate([[0.0], np.cumsum(np.diff(edges) * speed * (-1.0) ** np.arange(len(times)))])
    t = np.arange(round(seconds * fps)) / fps
    n = np.searchsorted(edges, t, "right") - 1
    x = ways[n] + (t - edges[n]) * speed * (-1.0) ** n
    return disc(np.stack([40 + x, np.full_like(x, 24.0)], -1))


def found(events, times, tolerance):
    return float(matching.f1(matching.match(times, events, tolerance).counts))


def seen_in(frames, fps):
    meter = MotionMeter(Fraction(fps))
    for frame in frames:
        meter.add(frame)
    return find_motion_events(meter.finish())


class TestSeen:
    @pytest.mark.parametrize("fps", [5, 16, 25, 60])
    def test_jumps_are_seen_in_the_frame_that_first_shows_them(self, fps):
        times = on_frames(TIMES, fps)
        np.testing.assert_allclose(seen_in(jumps(times, fps), fps), times, atol=0.5 / fps)

    @pytest.mark.parametrize("fps", [16, 25, 60])
    def test_turns_are_placed_between_frames(self, fps):
        events = seen_in(turns(TIMES, fps), fps)
        assert found(events, TIMES, 1 / fps) == 1
        assert abs(np.median(matching.match(TIMES, events, 1 / fps).offsets)) < 0.3 / fps

    def test_flashes(self):
        frames = torch.full((100, 24, 32, 3), 0.3)
        for time in (1.0, 2.2, 3.08):
            frames[round(25 * time) : round(25 * time) + 2] = 0.8
        np.testing.assert_allclose(seen_in(frames, 25), [1.0, 2.2, 3.08], atol=0.04)

    def test_a_steady_motion_a_still_picture_and_noise_have_none(self):
        moving = disc(np.stack([np.linspace(10, 50, 75), np.full(75, 24.0)], -1))
        assert len(seen_in(moving, 25)) == 0 and len(seen_in(moving[:1].expand(75, -1, -1, -1), 25)) == 0
        noise = 0.5 + 0.05 * torch.randn(100, 36, 64, 1, generator=torch.Generator().manual_seed(0))
        assert len(seen_in(noise, 25)) <= 1

    def test_events_are_seen_through_noise(self):
        frames = jumps(on_frames(TIMES, 25), 25)
        noisy = frames + 0.03 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
        assert found(seen_in(noisy, 25), TIMES, 1 / 25) == 1

    def test_large_grey_and_eight_bit_pictures_are_as_good(self):
        frames = jumps(on_frames(TIMES, 5), 5)
        large = (frames[..., :1].repeat_interleave(9, 1).repeat_interleave(9, 2) * 255).byte()
        np.testing.assert_allclose(seen_in(large, 5), seen_in(frames, 5), atol=0.01)

    def test_frames_are_when_the_file_shows_them(self):
        """A phone's video: half as many pictures in its second half."""
        shown = np.concatenate([np.arange(0, 3, 1 / 30), np.arange(3, 6, 1 / 15)])
        meter = MotionMeter(Fraction(24))
        for time in shown:
            meter.add(torch.full((8, 8, 3), 0.2 if time < 5 - 1e-6 else 0.7), float(time))
        np.testing.assert_allclose(find_motion_events(meter.finish()), [5.0], atol=0.01)


def onsets(mono, rate):
    meter = OnsetMeter(rate)
    meter.add(mono)
    return meter.finish()[0]


class TestHeard:
    @pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
    def test_clicks_at_any_rate_also_in_noise(self, rate):
        for noise in (0.0, 0.01):
            heard = onsets(clicks(TIMES, rate, noise=noise)[0].numpy(), rate)
            np.testing.assert_allclose(heard[heard > 0.1], TIMES, atol=0.012)

    def test_pieces_join_without_a_seam(self):
        times = np.array([0.5, 19.7, 19.99, 20.2, 39.98, 41.0])
        np.testing.assert_allclose(onsets(clicks(times, 8_000, 42)[0].numpy(), 8_000), times, atol=0.012)


class TestSync:
    @pytest.mark.parametrize(("fps", "rate", "channels"), [(5, 8_000, 1), (16, 48_000, 2), (25, 44_100, 6), (60, 16_000, 2)])
    def test_what_belongs_together_meets(self, fps, rate, channels):
        times = on_frames(TIMES, fps)
        wave = clicks(times, rate, seconds=round(SECONDS * fps) / fps, channels=channels)
        score = score_clip(jumps(times, fps), fps, wave, rate)
        assert score.sync.f1 == 1 and score.sync.chance < 0.75 and abs(score.sync.offset_ms) < 15
        assert score.sync.advice_ms is None and not score.warnings()

    @pytest.mark.parametrize("fps", [16, 25, 60])
    @pytest.mark.parametrize("late", [0.12, -0.12, 0.7])
    def test_an_offset_beyond_a_frame_is_measured_and_its_remedy_told(self, fps, late):
        times = on_frames(TIMES, fps)
        score = score_clip(jumps(times, fps), fps, clicks(times, late=late, seconds=7), 16_000)
        assert score.sync.f1 < 0.5 and score.sync.lag is not None
        assert score.sync.offset_ms == pytest.approx(1000 * late, abs=20) and score.sync.advice_ms == -score.sync.offset_ms
        assert f"shift the audio by {score.sync.advice_ms:+.0f} ms" in "\n".join(score.lines())

    def test_an_offset_within_a_frame_is_measured_and_left(self):
        times = on_frames(TIMES, 5)
        score = score_clip(jumps(times, 5), 5, clicks(times, late=0.12), 16_000)
        assert score.sync.f1 == 1 and score.sync.offset_ms == pytest.approx(120, abs=20) and score.sync.advice_ms is None

    def test_unrelated_events_get_no_advice(self):
        rng = np.random.default_rng(0)
        sure = sum(estimate_lag(*np.sort(rng.uniform(0, 10, (2, 12))), 0.04) is not None for _ in range(200))
        assert sure <= 4

    def test_regular_events_get_no_advice(self):
        beats = np.arange(0.5, 10, 0.5)
        assert estimate_lag(beats, beats + 0.12, 0.04) is None
        assert estimate_lag(beats, beats[:0], 0.04) is None

    def test_misses_on_both_sides(self):
        seen, heard = on_frames(TIMES, 25)[:6], TIMES[2:]
        score = score_clip(jumps(seen, 25), 25, clicks(heard), 16_000)
        assert (score.sync.matching.missed, score.sync.matching.spurious) == (2, 2)
        assert score.sync.f1 == pytest.approx(2 / 3)

    def test_chance_is_what_unrelated_sound_gets(self):
        times = on_frames(TIMES, 25)
        score = score_clip(jumps(times, 25), 25, clicks(np.sort(SECONDS - TIMES)), 16_000)
        assert score.sync.f1 < 0.5 and 0 < score.sync.chance < 0.35

    @pytest.mark.parametrize("seconds, events", [(1.0, 3), (2.0, 5)])
    def test_chance_is_that_of_unrelated_events_also_in_short_clips(self, seconds, events):
        """Where a few of the shifts leave everything in place, as chance itself does now and then."""
        rng = np.random.default_rng(0)
        batch_generator = [np.sort(rng.uniform(1 / 16, seconds, events)) for _ in range(300)]
        turned = np.mean([measure_sync(times, times, 16, seconds).chance for times in batch_generator])
        unrelated = np.mean([measure_sync(a, b, 16, seconds).f1 for a, b in zip(batch_generator, batch_generator[1:])])
        assert turned == pytest.approx(unrelated, abs=0.04)

    def test_long_lists_are_matched_as_short_ones_are(self):
        rng = np.random.default_rng(0)
        a = np.sort(rng.uniform(0, 300, 900))
        b = np.sort(a + rng.normal(0, 0.02, 900))
        whole = matching.match(a, b, 0.04)
        assert whole.pairs.tolist() == [list(p) for p in matching._pairs(a.tolist(), b.tolist(), 0.04 + 1e-9)]


class TestHealth:
    def test_a_tone_is_as_loud_as_the_recommendation_says(self):
        """EBU Tech 3341, 1 and 2: 1 kHz in both channels at −23 dBFS is −23.0 LUFS, at −33 dBFS −33.0; in one, 3 LU less."""
        for rate in (8_000, 44_100, 48_000):
            tone = np.sin(2 * np.pi * 1000 * np.arange(4 * rate) / rate)
            for level in (-23.0, -33.0):
                stereo = np.stack([tone, tone]) * 10 ** (level / 20)
                assert measure_loudness(stereo, rate) == pytest.approx(level, abs=0.1)
                assert measure_loudness(stereo[:1], rate) == pytest.approx(level - 3.01, abs=0.1)

    def test_surrounds_count_more_and_low_frequency_effects_not_at_all(self):
        """EBU Tech 3341, 6: a tone at −28 dBFS left and right, −24 in the centre and −30 in the surrounds is −23.0 LUFS."""
        levels = np.array([-28.0, -28.0, -24.0, -30.0, -30.0])[:, None]
        five = 10 ** (levels / 20) * np.sin(2 * np.pi * 1000 * np.arange(20 * 8_000) / 8_000)
        assert measure_loudness(five, 8_000) == pytest.approx(-23.0, abs=0.1)
        assert measure_loudness(np.insert(five, 3, five[2], axis=0), 8_000) == measure_loudness(five, 8_000)

    def test_quiet_passages_are_gated(self):
        """EBU Tech 3341, 3: the tone at −36, −23 and −36 dBFS for 10, 60 and 10 s is −23.0 LUFS."""
        levels = np.repeat([-36.0, -23.0, -36.0], [80_000, 480_000, 80_000])
        tone = 10 ** (levels / 20) * np.sin(2 * np.pi * 1000 * np.arange(len(levels)) / 8_000)
        assert measure_loudness(np.stack([tone, tone]), 8_000) == pytest.approx(-23.0, abs=0.1)

    def test_long_sound_is_measured_in_pieces(self):
        noise = 0.1 * np.random.default_rng(0).standard_normal((1, 70 * 4_000)).astype(np.float32)
        assert measure_loudness(noise, 4_000) == pytest.approx(measure_loudness(noise[:, : 20 * 4_000], 4_000), abs=0.1)

    def test_short_and_silent_sound(self):
        tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(4_800) / 48_000)[None]
        assert measure_loudness(tone, 48_000) == pytest.approx(-23.0, abs=0.5)
        assert measure_loudness(0 * tone, 48_000) == -math.inf and measure_loudness(np.zeros((1, 480_000)), 48_000) == -math.inf

    def score(self, wave, rate=16_000):
        return score_clip(jumps(TIMES, 5), 5, torch.as_tensor(wave).float(), rate)

    def test_silence(self):
        score = self.score(torch.zeros(2, 102_400))
        assert score.warnings() == ["the audio is silent"] and score.sync.f1 == 0 and len(score.sync.seen) == 8
        assert score.facts()["sound"]["lufs"] is None and score.sync.offset_ms is None

    def test_dc_offset(self):
        wave = clicks(TIMES, channels=2)
        wave[1] += 0.2
        score = self.score(wave.clamp(-1, 0.99))
        assert score.warnings() == ["the audio has a DC offset of +0.200"] and score.sync.f1 == 1

    def test_clipping(self):
        wave = clicks(TIMES)
        wave[0, 20_000:20_100] = 1.0
        assert self.score(wave).sound.clipped == pytest.approx(100 / 102_400)
        assert self.score(wave).warnings() == ["0.10 % of the audio samples are clipped (at full scale)"]

    def test_nan(self):
        wave = clicks(TIMES)
        wave[0, 500:510], wave[0, 7] = math.nan, math.inf
        score = self.score(wave)
        assert score.warnings() == ["11 audio values are NaN or infinite"] and score.sync.f1 == 1
        json.dumps(score.facts(), allow_nan=False)
        all_broken = self.score(torch.full((1, 102_400), math.nan))
        assert all_broken.sound.silent and all_broken.sync.f1 == 0

    @pytest.mark.parametrize(("surplus", "word"), [(800, "longer"), (-1600, "shorter")])
    def test_a_length_that_is_not_the_pictures(self, surplus, word):
        score = self.score(clicks(TIMES, seconds=SECONDS + surplus / 16_000))
        assert score.sound.surplus == surplus
        assert score.warnings() == [f"the audio is {abs(surplus)} samples ({abs(surplus) / 16:.0f} ms) {word} than the video"]

    def test_broken_frames(self):
        frames = jumps(TIMES, 5).clone()
        frames[3, 0, 0] = math.nan
        assert score_clip(frames, 5).warnings() == ["1 of 32 frames contain NaN or infinity"]


class TestScore:
    def test_a_still_silent_clip_has_no_f1(self):
        score = score_clip(torch.full((20, 16, 16, 3), 0.5), 10, torch.zeros(1, 16_000), 8_000)
        assert score.sync.f1 is None and score.sync.chance is None and score.motion.mean == 0
        assert "sync: no events in the video or the audio" in score.lines()

    @pytest.mark.parametrize("size", [(1, 1), (2, 9), (300, 2)])
    def test_one_frame_of_any_size(self, size):
        score = score_clip(torch.rand(1, *size, 3), 25, clicks([0.02], seconds=0.04), 16_000)
        assert score.frames == 1 and "a single frame" in score.lines()[0] and draw_timeline(score).ndim == 3

    def test_motion_is_the_mean_difference_of_frames(self):
        frames = torch.zeros(3, 8, 8, 1)
        frames[1, :4] = 0.5
        assert score_clip(frames, 10).motion.mean == pytest.approx(0.25)

    def test_frames_are_taken_one_at_a_time(self):
        alive = []

        def stream():
            for k in range(400):
                yield torch.full((4, 4, 3), k / 400)
                alive.append(k)

        assert score_clip(stream(), 25).frames == 400 and len(alive) == 400
        meter = MotionMeter(Fraction(25))
        for frame in stream():
            meter.add(frame)
        assert len(meter._blurred) == 3

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((torch.zeros(0, 4, 4, 3), 25), "no frames"),
            ((torch.zeros(4, 4), 25), "frames have shape"),
            ((torch.zeros(2, 4, 4, 3), 0), "fps is 0"),
            ((torch.zeros(2, 4, 4, 3), 25, torch.zeros(100), 8_000), "give floats"),
            ((torch.zeros(2, 4, 4, 3), 25, torch.zeros(1, 100), None), "sample rate is None"),
            (([torch.zeros(4, 4, 3), torch.zeros(4, 5, 3)], 25), "give frames of one size"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments, words):
        with pytest.raises(ValueError, match=words) as error:
            score_clip(*arguments)
        assert "\n" not in str(error.value)

    def test_facts_are_json(self):
        facts = score_clip(jumps(TIMES, 5), 5, clicks(TIMES), 16_000).facts()
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts and len(facts["sync"]["matches"]) == 8


class TestTimeline:
    def test_what_meets_is_green_and_misses_are_red(self):
        times = on_frames(TIMES, 5)
        both = draw_timeline(score_clip(jumps(times, 5), 5, clicks(times), 16_000))
        apart = draw_timeline(score_clip(jumps(times, 5), 5))
        assert (both == MATCHED).all(-1).any() and not (both == MISSED).all(-1).any()
        assert (apart == MISSED).all(-1).any() and not (apart == MATCHED).all(-1).any()

    def test_a_match_is_drawn_where_it_is(self):
        times = np.array([1.2, 4.0])
        picture = draw_timeline(score_clip(jumps(times, 25), 25, clicks(times), 16_000))
        columns = np.flatnonzero((picture == MATCHED).all(-1).any(0)) / picture.shape[1] * SECONDS
        assert all(np.abs(times[:, None] - columns).min(0) < 0.05) and np.ptp(columns) > 2.5

    def test_a_long_clip_stays_drawable(self):
        frames = (torch.full((2, 2, 3), 0.5) for _ in range(300))
        assert draw_timeline(score_clip(frames, 5)).shape[1] == 4096


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A muxed clip of known events, and one without sound."""
    folder = tmp_path_factory.mktemp("clips")
    times = on_frames(TIMES, 16)
    write_video(jumps(times, 16), folder / "clip.mp4", fps=16, audio=clicks(times, late=0.12, seconds=SECONDS), sample_rate=16_000)
    write_video(jumps(times, 16), folder / "mute.mp4", fps=16)
    return folder / "clip.mp4"


class TestFile:
    def test_a_file_is_measured_as_it_was_made(self, file):
        score = score_file(file)
        assert score.frames == 102 and len(score.sync.matching.pairs) < 4
        assert score.sync.offset_ms == pytest.approx(120, abs=25) and score.sync.advice_ms < 0
        assert score.sound.surplus == 0 and found(score.seen, on_frames(TIMES, 16), 1 / 32) == 1

    def test_reading_by_picture_is_reading_whole(self, file):
        clip = read_video(file)
        with open_video(file) as opened:
            for index, (picture, seconds) in enumerate(opened.read_frames()):
                assert torch.equal(picture, clip.frames[index]) and seconds == pytest.approx(index / 16)
            assert torch.equal(opened.read_audio()[0], clip.audio) and opened.fps == clip.fps


def duet(capsys, *args):
    code = commands.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


class TestCommand:
    def test_each_file_is_reported(self, capsys, file):
        code, out, err = duet(capsys, "score", file, file.with_name("mute.mp4"))
        assert code == 0 and out[0] == str(file) and "audio: none; 8 events in the video" in out[-1]
        assert any("shift the audio by -1" in line for line in out)

    def test_a_name_is_printed_on_one_line_without_control_characters(self, capsys, file, tmp_path):
        named = tmp_path / "a\n\x1b[31mb.mp4"
        named.symlink_to(file.with_name("mute.mp4"))
        assert duet(capsys, "score", named)[1][0] == f"{tmp_path}/a b.mp4"

    def test_json_is_a_line_a_file(self, capsys, file):
        code, out, err = duet(capsys, "score", "--json", file, file.with_name("mute.mp4"))
        with_sound, mute = map(json.loads, out)
        assert code == 0 and with_sound["file"] == str(file) and with_sound["sync"]["offset_sure"]
        assert mute["sound"] is None and mute["sync"]["f1"] is None and len(mute["sync"]["seen"]) == 8

    def test_what_is_no_video_is_one_line(self, capsys, file, tmp_path):
        (tmp_path / "text.mp4").write_text("not a video")
        for bad, words in (
            (tmp_path / "gone.mp4", "there is no file"),
            (tmp_path / "text.mp4", "text.mp4 is damaged or is not a readable video"),
        ):
            code, out, err = duet(capsys, "score", bad)
            assert code == 2 and not out and len(err) == 1 and words in err[0]
        code, out, err = duet(capsys, "score", file, tmp_path / "gone.mp4")
        assert code == 2 and not out and "gone.mp4" in err[0]

    def test_sound_alone_is_one_line(self, capsys, tmp_path):
        import wave

        with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
            sound.setparams((1, 2, 8_000, 0, "NONE", ""))
            sound.writeframes(bytes(1600))
        code, out, err = duet(capsys, "score", tmp_path / "sound.wav")
        assert code == 2 and not out and len(err) == 1 and "has no video stream" in err[0]


class TestNode:
    def audio(self, wave, rate=16_000):
        return {"waveform": wave, "sample_rate": rate}

    def test_images_and_audio(self):
        times = on_frames(TIMES, 16)
        output = DuetSyncReport.execute(16.0, images=jumps(times, 16), audio=self.audio(clicks(times)[None]))
        text, timeline, f1, offset = output.args
        assert (
            f1 == 1.0
            and abs(offset) < 15
            and "F1 1.00" in text
            and output.shown["text"] == text.replace("warning: ", "").split("\n")
        )
        assert timeline.ndim == 4 and timeline.shape[-1] == 3 and timeline.dtype == torch.float32 and timeline.max() <= 1
        json.dumps(output.shown, allow_nan=False)
        assert output.shown["duet"][0]["warnings"] == output.shown["text"][-1:]  # the audio is longer
        assert "images" not in output.shown  # only ComfyUI shows the timeline on the node

    def test_a_video_is_taken_before_what_else_is_connected(self, file):
        output = DuetSyncReport.execute(5.0, images=torch.zeros(1, 8, 8, 3), video=InputImpl.VideoFromFile(str(file)))
        assert output.shown["duet"][0]["clips"][0]["frames"] == 102 and output.args[3] == pytest.approx(120, abs=25)
        parts = Types.VideoComponents(images=torch.zeros(8, 8, 8, 3), audio=None, frame_rate=Fraction(8))
        _, _, f1, offset = DuetSyncReport.execute(16.0, video=InputImpl.VideoFromComponents(parts)).args
        assert (f1, offset) == (0.0, 0.0)

    def test_every_clip_of_a_batch_is_measured(self):
        times = on_frames(TIMES, 5)
        images = torch.cat([jumps(times, 5), torch.full((32, 48, 64, 3), 0.5)])
        output = DuetSyncReport.execute(5.0, images=images, audio=self.audio(torch.stack([clicks(times), clicks(times)])))
        assert len(output.args[1]) == 2 and output.args[2] == 0.5 and "clip 2, sync: 0 events in the video" in output.args[0]

    def test_nothing_to_look_at_is_one_line(self):
        with pytest.raises(ValueError, match="neither images nor video"):
            DuetSyncReport.execute(16.0, audio=self.audio(clicks(TIMES)[None]))

    @pytest.mark.parametrize("source", ["images", "video"])
    def test_it_stops_within_a_frame_and_shows_progress(self, monkeypatch, file, source):
        seen, done = [], []

        def check_interrupt():
            seen.append(None)
            if len(seen) == 30:
                raise KeyboardInterrupt

        monkeypatch.setattr("duet_av.nodes.sync_report.check_interrupt", check_interrupt)
        monkeypatch.setattr("duet_av.nodes.sync_report.report_progress", lambda *progress: done.append(progress))
        monkeypatch.setattr("duet_av.nodes.sync_report.SHOW_EVERY", 0.0)
        given = {"images": jumps(TIMES, 16)} if source == "images" else {"video": InputImpl.VideoFromFile(str(file))}
        with pytest.raises(KeyboardInterrupt):
            DuetSyncReport.execute(16.0, **given)
        assert len(seen) == 30 and done == [(k, 102) for k in range(1, 30)]
