import errno
import itertools
import json
import os
import resource
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from duet_av.av_models.media import (
    MuxSettings,
    fit_audio,
    read_metadata,
    read_video,
    target_path,
    write_video,
)
from duet_av.av_models.media.audio import mix_down

FPS, RATE = 16, 16_000
HELD = [
    ("mp4", "h264", "aac"),
    ("mp4", "h265", "opus"),
    ("mkv", "vp9", "aac"),
    ("mkv", "h264", "opus"),
    ("webm", "vp9", "opus"),
    ("webm", "av1", "opus"),
]


def pictures(count=12, height=64, width=64, channels=3):
    """A bright square that moves one pixel a frame over a gradient."""
    frames = torch.linspace(0.2, 0.6, width).expand(count, height, width).clone()
    for index, frame in enumerate(frames):
        frame[8:24, index : index + 16] = 1.0
    return frames[..., None].expand(-1, -1, -1, channels).contiguous()


def tone(samples=12 * RATE // FPS, channels=2, rate=RATE):
    wave = 0.4 * torch.sin(2 * torch.pi * 440 * torch.arange(samples) / rate)
    return wave.expand(channels, -1).contiguous()


def write(path, frames=None, **given):
    return write_video(pictures() if frames is None else frames, path, **{"fps": FPS, **given})


def sounding(path, audio, **given):
    return write(path, audio=audio, sample_rate=RATE, **given)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def track_seconds(path):
    with av.open(str(path)) as container:
        return [float(stream.duration * stream.time_base) for stream in container.streams]


@pytest.mark.parametrize("container,video,audio", HELD)
def test_every_codec_keeps_frames_sound_and_workflow(tmp_path, container, video, audio):
    path = tmp_path / f"a.{container}"
    metadata = {"prompt": json.dumps({"text": "é ö 球"}, ensure_ascii=False), "workflow": "w" * 100_000}
    settings = MuxSettings(container, video, audio_codec=audio)
    report = sounding(path, tone(), settings=settings, metadata=metadata)
    clip = read_video(path)
    assert report.frames == 12 and clip.frames.shape == (12, 64, 64, 3)
    assert clip.fps == FPS
    assert clip.metadata == metadata == read_metadata(path)
    assert clip.sample_rate == report.audio_sample_rate == (48_000 if audio == "opus" else RATE)
    assert report.audio_samples == round(12 / FPS * report.audio_sample_rate)
    assert 0 <= clip.audio.shape[1] - report.audio_samples < 1024
    assert (clip.frames / 255 - pictures()).abs().mean() < 0.02


@pytest.mark.parametrize("container,video,audio", HELD)
def test_same_input_gives_the_same_bytes(tmp_path, container, video, audio):
    settings = MuxSettings(container, video, audio_codec=audio)
    for name in ("a", "b"):
        sounding(tmp_path / name, tone(), settings=settings, metadata={"prompt": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("fps", [5, 24, 23.976, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_picture_and_sound_last_equally_long(tmp_path, fps, rate):
    path = tmp_path / "a.mp4"
    write(path, fps=fps, audio=tone(3 * rate, 1, rate), sample_rate=rate)
    video, audio = track_seconds(path)
    assert video == pytest.approx(12 / fps, abs=1e-3)
    assert abs(video - audio) <= 1024 / rate
    assert read_video(path).audio.shape == (1, round(12 / fps * rate))
    assert float(read_video(path).fps) == pytest.approx(float(fps), rel=1e-6)


@pytest.mark.parametrize("policy,faded", [("trim", 0), ("pad", 0), ("fade", 320)])
def test_long_sound_is_cut_at_the_last_picture(tmp_path, policy, faded):
    path = tmp_path / "a.mp4"
    report = sounding(path, tone(12_000 + 777), settings=MuxSettings(policy=policy))
    assert (report.frames, report.audio_samples) == (12, 12_000)
    assert (report.audio_trimmed_samples, report.audio_faded_samples) == (777, faded)
    end = read_video(path).audio[:, 12_000 - 60 : 12_000].abs().max()
    assert end < 0.1 if faded else end > 0.3


@pytest.mark.parametrize(("rate", "surplus", "faded"), [
    (16_000, 288, 0), (16_000, 288 + 1024, 0), (48_000, 2048, 0), (16_000, 777, 320), (48_000, 2049, 960),
])  # fmt: skip
def test_what_a_codec_appends_is_cut_without_a_fade(tmp_path, rate, surplus, faded):
    report = write(tmp_path / "a.mp4", audio=tone(12 * rate // FPS + surplus, 1, rate), sample_rate=rate)
    assert (report.audio_trimmed_samples, report.audio_faded_samples, report.warnings()) == (surplus, faded, [])


@pytest.mark.parametrize("policy", ["pad", "fade"])
def test_short_sound_is_filled_with_silence(tmp_path, policy):
    path = tmp_path / "a.mp4"
    report = sounding(path, tone(7_000), settings=MuxSettings(policy=policy))
    assert (report.audio_samples, report.audio_padded_samples, report.audio_faded_samples) == (12_000, 5_000, 0)
    audio = read_video(path).audio
    assert audio.shape == (2, 12_000)
    assert audio[:, 8_100:].abs().max() < 0.01


def test_trim_leaves_short_sound_alone_and_says_so(tmp_path):
    report = sounding(tmp_path / "a.mp4", tone(7_000), settings=MuxSettings(policy="trim"))
    assert (report.frames, report.audio_samples, report.audio_missing_samples) == (12, 7_000, 5_000)
    assert "5000 samples missing" in report.summary()


def test_fitting_touches_only_the_end():
    audio = tone(1000)
    faded = fit_audio(audio, 900, "fade", fade=100)
    assert torch.equal(faded[:, :800], audio[:, :800])
    assert faded[:, -1].abs().max() == 0
    assert torch.equal(fit_audio(audio, 1000, "fade", fade=100), audio)


@pytest.mark.parametrize("codec,given,written", [("opus", 44_100, 48_000), ("aac", 40_000, 44_100), ("aac", 192_000, 96_000)])
def test_rates_that_the_codec_lacks_are_resampled_in_time(tmp_path, codec, given, written):
    path = tmp_path / "a.mp4"
    click = torch.zeros(1, round(given * 0.75))
    click[:, given // 2 - 20 : given // 2 + 20] = 0.9
    report = write(path, audio=click, sample_rate=given, settings=MuxSettings(audio_codec=codec))
    assert (report.audio_sample_rate, report.audio_resampled_from) == (written, given)
    assert report.audio_trimmed_samples == report.audio_padded_samples == report.audio_faded_samples == 0
    assert read_video(path).audio[0].abs().argmax().item() == pytest.approx(written / 2, abs=written / 1000)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_click_stays_at_its_picture(tmp_path, container):
    path = tmp_path / f"a.{container}"
    click = torch.zeros(1, 12_000)
    click[:, 6_000] = 0.9
    sounding(path, click, settings=MuxSettings(container))
    assert read_video(path).audio[0].abs().argmax().item() == pytest.approx(6_000, abs=16)


def test_sound_lies_between_the_pictures(tmp_path):
    path = tmp_path / "a.mkv"
    sounding(path, tone(4 * RATE), frames=pictures(64, 64, 80), settings=MuxSettings("mkv"))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        order = [(packet.stream.type, float(packet.pts * packet.time_base)) for packet in packets]
    changes = sum(a[0] != b[0] for a, b in itertools.pairwise(order))
    assert changes > 30
    assert all(b[1] - a[1] > -0.4 for a, b in itertools.pairwise(order))


def test_frames_may_stream_in_pictures_and_chunks(tmp_path):
    frames = pictures()
    whole = sounding(tmp_path / "a.mp4", tone(20_000), frames=frames)
    alive = []

    def stream():
        yield frames[:5]
        for frame in frames[5:]:
            alive.append((tmp_path / "b.mp4").exists())
            yield frame

    streamed = sounding(tmp_path / "b.mp4", tone(20_000), frames=stream(), frame_count=12)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert streamed.audio_trimmed_samples == whole.audio_trimmed_samples == 8_000
    assert not any(alive)


@pytest.mark.parametrize("count", [11, 13])
def test_another_number_of_frames_than_asked_is_refused(tmp_path, count):
    with pytest.raises(ValueError, match="frame_count is 12, but there are "):
        write(tmp_path / "a.mp4", iter(pictures(count)), frame_count=12)
    assert names(tmp_path) == []


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    path = tmp_path / "a.mp4"
    report = write(path, pictures(2, 63, 65))
    assert (report.width, report.height, report.padded_right, report.padded_bottom) == (66, 64, 1, 1)
    frames = read_video(path).frames.float()
    assert frames.shape == (2, 64, 66, 3)
    assert (frames[:, -1] - frames[:, -2]).abs().max() <= 6


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_becomes_rgb_and_alpha_is_dropped(tmp_path, channels):
    frames = pictures(2, channels=channels)
    write(tmp_path / "a.mp4", frames)
    read = read_video(tmp_path / "a.mp4").frames / 255
    assert (read - frames[..., :1]).abs().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_every_precision_is_taken(tmp_path, dtype):
    frames = pictures(2) * 255 if dtype == torch.uint8 else pictures(2)
    write(tmp_path / "a.mp4", frames.to(dtype), audio=tone().to(torch.float16), sample_rate=RATE)
    assert (read_video(tmp_path / "a.mp4").frames / 255 - pictures(2)).abs().mean() < 0.02


def test_colours_survive(tmp_path):
    colours = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5]])
    write(tmp_path / "a.mp4", colours[:, None, None].expand(-1, 64, 64, 3))
    read = read_video(tmp_path / "a.mp4").frames.float().mean((1, 2)) / 255
    assert (read - colours).abs().max() < 0.02


def test_overloud_sound_is_clipped_and_counted(tmp_path):
    audio = tone()
    audio[0, 100:110] = 1.5
    assert sounding(tmp_path / "a.mp4", audio).audio_clipped_samples == 10


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8, 9, 12, 16, 25])
def test_more_than_two_channels_are_mixed_to_stereo(tmp_path, channels):
    report = sounding(tmp_path / "a.mp4", tone(channels=channels))
    assert report.audio_channels == read_video(tmp_path / "a.mp4").audio.shape[0] == 2
    assert f"{channels} audio channels were mixed to stereo" in report.summary()
    assert report.warnings() == [f"a.mp4: {channels} audio channels were mixed to stereo"]
    assert report.audio_clipped_samples == 0


@pytest.mark.parametrize(("channels", "layout"), [(3, "2.1"), (4, "4.0"), (5, "5.0"), (6, "5.1"), (7, "6.1"), (8, "7.1")])
def test_the_mix_is_that_of_ffmpeg(channels, layout):
    audio = 2 * torch.rand(channels, 500, generator=torch.Generator().manual_seed(0)) - 1
    packed = (audio * 32_767).round().short().T.reshape(1, -1).contiguous()
    frame = av.AudioFrame.from_ndarray(packed.numpy(), "s16", layout)
    frame.sample_rate = RATE
    (mixed,) = av.AudioResampler(format="s16", layout="stereo", rate=RATE).resample(frame)
    expected = torch.from_numpy(mixed.to_ndarray()).view(-1, 2).T / 32_767
    assert (mix_down(audio) - expected).abs().max() < 1e-4


def test_lower_crf_is_a_larger_file(tmp_path):
    frames = torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    fine, coarse = (write(tmp_path / "a.mp4", frames, settings=MuxSettings(crf=crf)).bytes for crf in (10, 40))
    assert fine > 2 * coarse


def test_progress_counts_every_frame(tmp_path):
    seen = []
    write(tmp_path / "a.mp4", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(index, 12) for index in range(1, 13)]


class Stop(BaseException):
    pass


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    calls = iter(range(3))

    def interrupt():
        if next(calls) == 2:
            raise Stop

    with pytest.raises(Stop):
        sounding(tmp_path / "a.mp4", tone(), check_interrupt=interrupt)
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_no_room_on_the_disk(tmp_path, container):
    frames = torch.rand(8, 128, 128, 3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write .*a.file: .*free some space") as caught:
            write(tmp_path / "a.file", frames, settings=MuxSettings(container))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot write .*choose a folder") as caught:
        write(tmp_path / "a.mp4")
    assert caught.value.errno == errno.EACCES


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write .*choose a folder"):
        write(tmp_path / "file" / "a.mp4")


def test_a_file_cut_short_is_not_taken_for_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("duet_av.av_models.media.write.VideoOutput.add_frame", lambda self, rgb, index: None)
    with pytest.raises(OSError, match="cannot write .*a.mkv: it has 0 of 12 frames; check the free disk space"):
        write(tmp_path / "a.mkv", settings=MuxSettings("mkv"))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "given,message",
    [
        ({"container": "avi"}, "container is 'avi'; choose one of mp4, mkv, webm"),
        ({"container": "webm"}, "webm does not support h264 video; use vp9 or av1, or the container mp4 or mkv"),
        ({"container": "webm", "video_codec": "vp9"}, "webm does not support aac audio; use opus"),
        ({"video_codec": "vp8"}, "video codec is 'vp8'"),
        ({"policy": "loop"}, "policy is 'loop'; choose one of trim, pad, fade"),
        ({"crf": 52}, "crf is 52; use 0 .* to 51 .* for h264"),
        ({"crf": float("nan")}, "crf is nan"),
        ({"audio_bitrate": 0}, "audio bitrate is 0"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        MuxSettings(**given)


NAN = float("nan")


@pytest.mark.parametrize(
    "given,message",
    [
        ({"fps": 0}, "fps is 0"),
        ({"fps": -1}, "fps is -1"),
        ({"fps": NAN}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"fps": 1e-9}, "fps is 1e-09"),
        ({"frames": torch.zeros(0, 8, 8, 3)}, "no frames"),
        ({"frames": iter(())}, "no frames"),
        ({"frames": torch.full((2, 8, 8, 3), NAN)}, "frame 0 contains NaN"),
        ({"frames": torch.full((2, 8, 8, 3), float("inf"))}, "frame 0 contains NaN or infinity"),
        ({"frames": torch.zeros(2, 8, 8, 2)}, "frame 0 has shape"),
        ({"frames": torch.zeros(8, 8)}, "frames have shape"),
        ({"frames": torch.zeros(2, 8, 8, 3, dtype=torch.int64)}, "frame 0 has dtype torch.int64"),
        ({"frames": [torch.zeros(8, 8, 3), torch.zeros(8, 10, 3)]}, "frame 1 is 10×8, but frame 0 is 8×8"),
        ({"audio": torch.full((1, 9), NAN), "sample_rate": RATE}, "audio contains NaN or infinity in 9 of 9"),
        ({"audio": torch.zeros(1, 0), "sample_rate": RATE}, "audio has no samples"),
        ({"audio": torch.zeros(0, 9), "sample_rate": RATE}, "audio has 0 channels"),
        ({"audio": torch.zeros(1, 1, 9), "sample_rate": RATE}, "audio has dtype .* and shape"),
        ({"audio": torch.zeros(1, 9)}, "sample rate is None"),
        ({"audio": torch.zeros(1, 9), "sample_rate": 0}, "sample rate is 0"),
        ({"audio": torch.zeros(1, 9), "sample_rate": NAN}, "sample rate is nan"),
        ({"metadata": {"prompt": {"a": 1}}}, "metadata 'prompt' is a dict; give text"),
        ({"metadata": {"prompt": "a\0b"}}, "NUL"),
        ({"metadata": {"Encoder": "me"}}, "metadata 'Encoder' is a tag that the container writes itself"),
        (
            {"settings": MuxSettings(video_codec="h265"), "frames": torch.zeros(2, 2, 2, 3)},
            "frames are 2×2, and h265 needs a width of at least 64; choose h264",
        ),
        (
            {"settings": MuxSettings(video_codec="av1"), "frames": torch.zeros(2, 16, 128, 3)},
            "frames are 128×16, and av1 needs at least 28 pixels each way; choose another codec",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        write(tmp_path / "a.mp4", **given)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_nan_late_in_the_clip_leaves_nothing(tmp_path):
    frames = pictures()
    frames[7, 3, 3, 0] = NAN
    with pytest.raises(ValueError, match="frame 7 contains NaN"):
        write(tmp_path / "a.mp4", frames)
    assert names(tmp_path) == []


def test_names_count_upwards(tmp_path):
    first = target_path(tmp_path, "video/clip", "mp4")
    assert first == tmp_path / "video" / "clip_00001_.mp4"
    first.parent.mkdir()
    for taken in ("clip_00001_.mp4", "clip_00007_.png", "clip_00009_.mkv.part", "clipper_00050_.mp4", "clip_x.mp4"):
        (first.parent / taken).touch()
    assert target_path(tmp_path, "video\\clip", "webm") == tmp_path / "video" / "clip_00010_.webm"


def test_names_that_file_systems_refuse_are_made_usable(tmp_path):
    assert target_path(tmp_path, "a\nb/c\x7f", "mp4") == tmp_path / "a_b" / "c__00001_.mp4"
    long = target_path(tmp_path, f"{'x' * 300}/{'é' * 300}", "mp4")
    assert long.parent.name == "x" * 200 and long.name == "é" * 100 + "_00001_.mp4"


def test_names_make_their_folder_when_written(tmp_path):
    path = target_path(tmp_path, "a/b/clip", "mp4")
    assert names(tmp_path) == []
    write(path, pictures(2))
    assert path.is_file()
    assert target_path(tmp_path, "a/b/clip", "mp4").name == "clip_00002_.mp4"


@pytest.mark.parametrize(
    "prefix",
    ["../x", "a/../../x", "/etc/x", "C:\\x", "C:x", "\\\\host\\share\\x", "..", "", ".", "a\0b", "link/x"],
)
def test_names_that_leave_the_folder_are_refused(tmp_path, prefix):
    inside = tmp_path / "output"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="output folder") as caught:
        target_path(inside, prefix, "mp4")
    assert "\n" not in str(caught.value)


def test_an_unknown_extension_is_refused(tmp_path):
    with pytest.raises(ValueError, match="file extension is 'exe'"):
        target_path(tmp_path, "x", "exe")


def test_silent_files_are_read(tmp_path):
    path = tmp_path / "a.mp4"
    report = write(path)
    clip = read_video(path)
    assert report.audio_encoder is None and "no audio" in report.summary()
    assert clip.audio is None and clip.sample_rate is None and clip.metadata == {}


def test_sound_that_starts_late_is_read_late(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, width=64, height=64)
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for _ in range(12):
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        frame = av.AudioFrame.from_ndarray((tone(8_000, 1) * 32767).short().numpy(), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 4_000, Fraction(1, RATE)
        container.mux(audio.encode(frame))
        container.mux(video.encode(None))
    heard = read_video(path).audio
    assert heard[:, :4_000].abs().max() == 0
    assert heard[:, 4_000:].abs().max() > 0.3


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.mp4"):
        read_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)])
def test_a_file_that_is_no_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    for read in (read_video, read_metadata):
        with pytest.raises(ValueError, match="a.mp4 is damaged or is not a readable video") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_file_cut_in_half(tmp_path):
    path = tmp_path / "a.mp4"
    write(path, torch.rand(12, 64, 64, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged"):
        read_video(path)


def test_a_sound_file_is_no_video(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(torch.zeros(1, 100, dtype=torch.short).numpy(), "s16", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="has no video stream"):
        read_video(path)


def test_the_file_is_readable_by_others(tmp_path):
    write(tmp_path / "a.mp4", pictures(2))
    (tmp_path / "plain").touch()
    assert Path(tmp_path / "a.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode
