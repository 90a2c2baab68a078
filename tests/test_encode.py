from fractions import Fraction

import pytest
import torch

from duet_av.av_models.clip_latent import known_frames, known_samples
from duet_av.av_models.media.fit import WaveformFit, fit_frames, fit_waveform, plan_frames
from duet_av.av_models.shapes import AudioShape, AudioStride, VideoShape, VideoStride
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode import DuetEncode
from duet_av.nodes.latents import clip_shape, known_parts
from duet_av.nodes.stand_in.nested import NestedTensor
from duet_av.nodes.stand_in.video import VideoComponents, VideoFromComponents
from duet_av.tests.test_nodes import sampled
from duet_av.tests.tiny import tiny_model

WHOLE, FIRST = {"keep": "what is connected"}, {"keep": "the first frame"}
BACKWARDS = {"keep": "all but a stretch", "start": 0.3, "end": 0.2, "stream": "both"}
FRAMES, SAMPLES = 8, 4000


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def images(n=FRAMES, height=16, width=16, channels=3):
    return torch.rand(n, height, width, channels, generator=torch.Generator().manual_seed(1))


def audio(samples=SAMPLES, channels=1, rate=8000):
    return {"waveform": 0.1 * torch.randn(1, channels, samples, generator=torch.Generator().manual_seed(2)), "sample_rate": rate}


def encode(model, keep=WHOLE, fps=16.0, seconds=0.0, **given):
    return DuetEncode.execute(model, fps, seconds, keep, **given).args[0]


def kept(latent) -> tuple[list[bool], list[bool]]:
    """Which latent frames stay, and which latent steps of the sound."""
    known = known_parts(latent)
    return known.video[0, 0, :, 0, 0].tolist(), known.audio[0, 0].tolist()


def test_pictures_alone_stay_and_get_a_sound(model):
    latent = encode(model, images=images())
    video, sound = kept(latent)
    assert all(video) and not any(sound)
    out = sampled(model, latent)
    assert torch.equal(out.args[0]["samples"].unbind()[0], latent["samples"].unbind()[0])
    frames, made, _ = DuetDecode.execute(model, out.args[0]).args
    assert len(frames) == FRAMES and made["waveform"].shape[-1] == SAMPLES


def test_a_sound_alone_stays_and_gets_pictures(model):
    latent = encode(model, audio=audio())
    video, sound = kept(latent)
    assert all(sound) and not any(video)
    out = sampled(model, latent)
    assert torch.equal(out.args[0]["samples"].unbind()[1], latent["samples"].unbind()[1])


@pytest.mark.parametrize(("keep", "n"), [(WHOLE, 1), (FIRST, FRAMES)])
def test_one_picture_or_the_first_of_many_is_the_first_frame(model, keep, n):
    video, sound = kept(encode(model, keep, seconds=0.5, images=images(n)))
    assert video == [True] + [False] * (len(video) - 1) and not any(sound)


def test_a_beginning_stays_in_both_streams(model):
    video, sound = kept(encode(model, {"keep": "a beginning", "until": 0.25}, images=images(), audio=audio()))
    assert video[0] and not video[-1] and video == sorted(video, reverse=True)
    assert sum(sound) == len(sound) // 2 and sound == sorted(sound, reverse=True)


@pytest.mark.parametrize("stream", ["picture", "sound", "both"])
def test_a_stretch_is_made_anew(model, stream):
    keep = {"keep": "all but a stretch", "start": 0.25, "end": 0.5, "stream": stream}
    video, sound = kept(encode(model, keep, images=images(), audio=audio()))
    assert all(video) == (stream == "sound") and all(sound) == (stream == "picture")
    assert video[0] and sound[0]


def test_what_is_shorter_than_the_clip_stays_as_far_as_it_goes(model):
    video, sound = kept(encode(model, seconds=1.0, images=images(), audio=audio()))
    assert video == sorted(video, reverse=True) and 0 < sum(video) <= len(video) // 2 + 1
    assert sum(sound) == len(sound) // 2 and sound == sorted(sound, reverse=True)
    video, _ = kept(encode(model, {"keep": "a beginning", "until": 0.9}, seconds=1.0, images=images()))
    assert not any(video[len(video) // 2 + 1 :])


def test_a_sound_that_ends_within_the_last_frame_stays_whole(model):
    assert all(kept(encode(model, seconds=0.5, audio=audio(SAMPLES - 200)))[1])


def test_the_clip_is_as_long_as_what_is_connected(model):
    for given in ({"images": images(24)}, {"audio": audio(12_000)}):
        video, sound = encode(model, **given)["duet_shape"].video, encode(model, **given)["duet_shape"].audio
        assert (video.frames, sound.samples) == (24, 12_000)


@pytest.mark.parametrize(("fps", "shown"), [(16, [0, 1, 2, 3]), (8, [0, 0, 1, 1]), (32, [0, 2, 4, 6])])
def test_frames_are_those_shown_at_their_time(fps, shown):
    pictures = (torch.arange(8) / 8)[:, None, None, None].expand(8, 4, 4, 3)
    frames = fit_frames(pictures, fps, VideoShape(4, 4, 4, 16))
    torch.testing.assert_close(frames, pictures[shown], atol=1 / 255, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 20), (16, 16)])
def test_pictures_of_any_size_cover_the_clip(channels, height, width):
    frames = fit_frames(images(1, height, width, channels), 16, VideoShape(3, 24, 32, 16))
    assert frames.shape == (3, 24, 32, 3) and 0 <= frames.min() and frames.max() <= 1


@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 48_000), (2, 8_000), (3, 16_000), (11, 16_000)])
def test_sounds_of_any_rate_are_mixed_and_resampled(channels, rate):
    sound = fit_waveform(torch.ones(channels, rate) * 0.5, rate, AudioShape(20_000, 16_000))
    assert sound.shape == (1, 20_000)
    assert sound[0, 4000:12_000].sub(0.5).abs().max() < 0.01 and sound[0, 16_500:].eq(0).all()


@pytest.mark.parametrize(("given", "fps", "said"), [
    ((60, 720, 1280), 30, ["1280×720 resized to 114×64, cropped to 64×64", "60 frames at 30 fps to 32 at 16 fps"]),
    ((300, 64, 64), 30, ["300 frames at 30 fps to 32 at 16 fps, cut from 10 s to 2 s"]),
    ((16, 64, 64), 8, ["16 frames at 8 fps to 32 at 16 fps"]),
    ((8, 64, 64), 8, ["8 frames at 8 fps to 16 at 16 fps"]),
    ((40, 64, 64), 16, ["40 frames at 16 fps to 32 at 16 fps, cut from 2.5 s to 2 s"]),
    ((1, 32, 32), 30, ["32×32 resized to 64×64"]),
    ((1, 80, 64), 30, ["64×80 cropped to 64×64"]),
    ((32, 64, 64), 16, []), ((8, 64, 64), 16, []),
])  # fmt: skip
def test_how_frames_are_fitted_is_said_in_numbers(given, fps, said):
    assert plan_frames(*given, fps, VideoShape(32, 64, 64, 16)).changes() == said


@pytest.mark.parametrize(("given", "said"), [
    ((2, 44_100, 44_100), ["44100 Hz stereo to 16000 Hz mono"]), ((1, 16_000, 16_000), []),
    ((6, 16_000, 16_000), ["16000 Hz with 6 channels to 16000 Hz mono"]),
    ((1, 24_000, 16_000), ["cut from 1.5 s to 1 s"]),
    ((1, 2000, 8000), ["8000 Hz mono to 16000 Hz mono", "padded from 0.25 s to 1 s"]),
])  # fmt: skip
def test_how_audio_is_fitted_is_said_in_numbers(given, said):
    assert WaveformFit(*given, AudioShape(16_000, 16_000)).changes() == said


def film(n=FRAMES, samples=SAMPLES, fps=16):
    return VideoFromComponents(VideoComponents(images(n), Fraction(fps), audio(samples) if samples else None))


def test_a_video_brings_its_frames_its_audio_and_its_frame_rate(model):
    alone = encode(model, video=film(fps=8), images=images(3), audio=audio(9), fps=99.0)
    apart = encode(model, images=images(), audio=audio(), fps=8.0)
    assert all(torch.equal(a, b) for a, b in zip(alone["samples"].unbind(), apart["samples"].unbind()))
    assert kept(alone) == kept(apart) and alone["duet_shape"] == apart["duet_shape"]
    silent = encode(model, video=film(samples=0))
    assert kept(silent) == kept(encode(model, images=images()))


def test_what_is_connected_beside_a_video_is_said_to_be_unused(model):
    keep = {"keep": "the video"}
    shown = DuetEncode.execute(model, 16.0, 0.0, keep, images=images(), audio=audio(), video=film()).shown["duet"][0]
    used = "is connected but not used, because video is connected"
    assert shown["warnings"] == [f"images {used}", f"audio {used}"]


@pytest.mark.parametrize("given", [{"video": film()}, {"images": images(), "audio": audio()}])
def test_the_video_or_the_audio_alone_is_kept(model, given):
    video, sound = kept(encode(model, {"keep": "the video"}, **given))
    assert all(video) and not any(sound)
    video, sound = kept(encode(model, {"keep": "the audio"}, **given))
    assert all(sound) and not any(video)


def test_the_length_is_that_of_what_is_kept(model):
    longer = film(n=16, samples=SAMPLES)  # 1 s of frames, 0.5 s of audio
    assert encode(model, {"keep": "the video"}, video=longer)["duet_shape"].video.frames == 16
    assert encode(model, {"keep": "the audio"}, video=longer)["duet_shape"].video.frames == 8


def test_the_report_says_what_was_changed_and_what_is_kept(model):
    silent = VideoFromComponents(VideoComponents(images(30, 72, 128), Fraction(30)))
    shown = DuetEncode.execute(model, 16.0, 0.0, {"keep": "the video"}, video=silent).shown
    assert shown["text"] == [
        "video: 128×72 resized to 28×16, cropped to 16×16; 30 frames at 30 fps to 16 at 16 fps", "video: 100% is kept",
        "audio: 0% is kept",
    ]  # fmt: skip
    assert shown["duet"][0]["video_fit"]["resized"] == {"width": 28, "height": 16} and shown["duet"][0]["audio_fit"] is None
    both = DuetEncode.execute(model, 16.0, 0.0, WHOLE, video=film(samples=4200)).shown
    assert "audio: cut from 0.525 s to 0.5 s" in both["text"]
    assert both["duet"][0]["warnings"] == [
        "everything is kept, so there is nothing to generate; set keep to 'the video' or 'the audio'"
    ]


def test_a_latent_frame_is_known_only_as_a_whole():
    stride = VideoStride(4, 8, 3)
    assert known_frames([True] * 6 + [False] * 3, stride).flatten().tolist() == [True, True, False]
    assert known_frames([True] * 4, stride).flatten().tolist() == [True, True]
    assert known_samples([True] * 7 + [False], AudioStride(4, 2)).flatten().tolist() == [True, False]


def test_a_drawn_mask_is_the_pictures(model):
    latent = DuetEmptyLatent.execute(model, 0.5, 1, {"size": "as trained"}).args[0]
    mask = torch.ones(1, 32, 32)
    mask[:, :16] = 0
    known = known_parts(latent | {"noise_mask": mask})
    height = known.video.shape[3]
    assert known.video[..., : height // 2, :].all() and not known.video[..., height // 2 :, :].any()
    assert not known.audio.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: encode(m), "no video, images or audio is connected"),
        (lambda m: encode(m, images=images(0)), "at least one image"),
        (lambda m: encode(m, images=images(channels=2)), "1, 3 or 4 channels"),
        (lambda m: encode(m, images=images()[:, :0]), "at least one image"),
        (lambda m: encode(m, audio={"sample_rate": 8000}), "audio has no waveform; connect"),
        (lambda m: encode(m, audio={"waveform": torch.zeros(1, 1, 9)}), "audio has no sample_rate; connect"),
        (lambda m: clip_shape({}, m), "latent does not hold both video and audio; connect"),
        (lambda m: encode(m, images=images() * torch.nan), "NaN"),
        (lambda m: encode(m, images=images(), fps=0.0), "fps"),
        (lambda m: encode(m, audio=audio(0)), "no samples"),
        (lambda m: encode(m, audio=audio(channels=0)), "0 channels"),
        (lambda m: encode(m, audio={"waveform": audio()["waveform"] * torch.nan, "sample_rate": 8000}), "NaN"),
        (lambda m: encode(m, audio={"waveform": torch.zeros(2, 1, 9), "sample_rate": 8000}), "one audio clip"),
        (lambda m: encode(m, {"keep": "a beginning", "until": 9.0}, images=images()), "until is 9"),
        (lambda m: encode(m, BACKWARDS, images=images()), "end is 0.2"),
        (lambda m: encode(m, FIRST, audio=audio()), "keep is 'the first frame' and no images are connected"),
        (lambda m: encode(m, {"keep": "the video"}, audio=audio()), "keep is 'the video' and no images are connected"),
        (lambda m: encode(m, {"keep": "the audio"}, video=film(samples=0)), "keep is 'the audio' and there is no audio"),
        (lambda m: sampled(m, encode(m, images=images(), audio=audio())), "nothing is left to sample"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(model, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_a_mask_of_another_length_is_refused(model):
    latent = encode(model, images=images())
    video, sound = latent["noise_mask"].unbind()
    with pytest.raises(ValueError, match="mask of the video is .*use a mask of the latent's size"):
        sampled(model, latent | {"noise_mask": NestedTensor((video[:, :, :1].repeat(1, 1, 7, 1, 1), sound))})


def test_a_sound_of_one_sample_is_padded_with_silence(model):
    assert encode(model, audio=audio(1), seconds=0.5)["duet_shape"].audio.samples == SAMPLES
