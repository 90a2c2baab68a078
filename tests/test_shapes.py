from fractions import Fraction

import pytest

from duet_av.av_models.shapes import AudioShape, AudioStride, AVShape, VideoShape, VideoStride, count_samples, sync_ratio

NAN, INF = float("nan"), float("inf")
CAUSAL, PLAIN = VideoStride(4, 8, 24), VideoStride(4, 8, 24, causal=False)


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), 23.976, 12.5, 1 / 3])
@pytest.mark.parametrize("frames", [1, 7, 32, 121])
def test_frames_to_seconds_and_back(frames, fps):
    seconds = AVShape.of_frames(frames, 64, 64, fps, 16_000).video.seconds
    assert seconds == pytest.approx(frames / float(fps), rel=1e-4)
    assert AVShape.of_seconds(seconds, 64, 64, fps, 16_000).video.frames == frames


def test_a_rate_close_to_ntsc_stays_exact():
    assert VideoShape(1, 8, 8, 30000 / 1001).fps == Fraction(30000, 1001)


@pytest.mark.parametrize("fps, sample_rate, samples", [(16, 16_000, 32_000), (30, 44_100, 47_040), (24, 48_000, 64_000)])
def test_the_sound_is_as_long_as_the_pictures(fps, sample_rate, samples):
    shape = AVShape.of_frames(32, 64, 64, fps, sample_rate, 2)
    assert shape.audio == AudioShape(samples, sample_rate, 2)
    assert count_samples(shape.video, sample_rate) == samples
    assert abs(shape.audio.seconds - shape.video.seconds) <= 0.5 / sample_rate


def test_the_shortest_clip_has_one_frame():
    assert AVShape.of_seconds(1e-3, 8, 8, 16, 16_000).video.frames == 1


@pytest.mark.parametrize("frames, latent", [(1, 1), (2, 2), (5, 2), (6, 3), (32, 9), (33, 9), (34, 10)])
def test_causal_codecs_give_the_first_frame_a_latent_of_its_own(frames, latent):
    assert CAUSAL.latent_frames(frames) == latent


@pytest.mark.parametrize("frames, latent", [(1, 1), (4, 1), (5, 2), (32, 8), (33, 9)])
def test_other_codecs_do_not(frames, latent):
    assert PLAIN.latent_frames(frames) == latent


@pytest.mark.parametrize("stride", [CAUSAL, PLAIN])
def test_latent_frames_to_frames_and_back(stride):
    for latent in range(1, 50):
        assert stride.latent_frames(stride.frames(latent)) == latent
        assert stride.latent_frames(stride.frames(latent) + 1) == latent + 1


@pytest.mark.parametrize("stride", [CAUSAL, PLAIN])
@pytest.mark.parametrize("frames, height, width", [(1, 1, 1), (32, 60, 65), (33, 64, 64)])
def test_the_representable_shape_holds_the_clip_and_is_the_next(stride, frames, height, width):
    shape = VideoShape(frames, height, width, 16)
    full = stride.representable(shape)
    assert 0 <= full.frames - frames < stride.time
    assert 0 <= full.height - height < stride.space and 0 <= full.width - width < stride.space
    assert stride.representable(full) == full and full.fps == shape.fps
    latent = stride.latent_shape(shape)
    assert latent == (24, stride.latent_frames(frames), full.height // 8, full.width // 8)


@pytest.mark.parametrize("samples, length", [(1, 1), (500, 1), (501, 2), (32_000, 64)])
def test_audio_latents_hold_every_sample(samples, length):
    assert AudioStride(500, 32).latent_shape(AudioShape(samples, 16_000)) == (32, length)


def test_sync_ratio_is_audio_latents_per_video_latent():
    bounce = sync_ratio(CAUSAL, 16, AudioStride(500, 32), 16_000)
    assert bounce == pytest.approx(8)
    # AVFullDiT: Wan's latent frame of 4 at 24 fps, Oobleck's of 2048 samples at 44.1 kHz.
    assert sync_ratio(VideoStride(4, 16, 48), 24, AudioStride(2048, 64), 44_100) == pytest.approx(4 / 24 * 44_100 / 2048)


@pytest.mark.parametrize("fps", [0, -1, NAN, INF])
def test_a_bad_rate_is_named(fps):
    for make in (
        lambda: VideoShape(1, 8, 8, fps),
        lambda: AVShape.of_frames(1, 8, 8, fps, 16_000),
        lambda: AVShape.of_seconds(1.0, 8, 8, fps, 16_000),
    ):
        with pytest.raises(ValueError, match=f"^fps is {fps}; give a number above 0$"):
            make()


@pytest.mark.parametrize("seconds", [0, -2.0, NAN, INF])
def test_a_bad_length_is_named(seconds):
    with pytest.raises(ValueError, match=f"^seconds is {seconds}; give a number above 0$"):
        AVShape.of_seconds(seconds, 8, 8, 16, 16_000)


@pytest.mark.parametrize("name", ["frames", "height", "width"])
@pytest.mark.parametrize("value", [0, -3, NAN])
def test_a_bad_size_is_named(name, value):
    sizes = {"frames": 1, "height": 8, "width": 8} | {name: value}
    with pytest.raises(ValueError, match=f"^{name} is {value}; give at least 1$"):
        VideoShape(**sizes, fps=16)


@pytest.mark.parametrize("name", ["samples", "sample_rate", "channels"])
def test_a_bad_sound_is_named(name):
    with pytest.raises(ValueError, match=f"^{name} is 0; give at least 1$"):
        AudioShape(**{"samples": 1, "sample_rate": 16_000, "channels": 1, name: 0})
