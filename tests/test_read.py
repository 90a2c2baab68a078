"""Reading video files of every kind: frames, stamps, orientation and audio."""

import io
import random
import socket
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from duet_av.av_models.media import MuxSettings, open_video, read_video, write_video
from duet_av.av_models.media.decode_audio import Waveform
from duet_av.av_models.media.read import Window
from duet_av.av_models.media.stamps import Clock
from duet_av.av_models.media.upright import UprightFrames
from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.benchmarks.odd_files import ODD_FILES, make_odd_file
from duet_av.benchmarks.shown import click_time, picture_number
from duet_av.tests.fuzz_media import damaged

FPS = 16
UNIT = 0x10000
IDENTITY = struct.pack(">9i", UNIT, 0, 0, 0, UNIT, 0, 0, 0, 0x40000000)


def coloured(count=3, height=48, width=80):
    """A gradient whose corners all differ."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.7 - 0.5 * x * y], -1).expand(count, -1, -1, -1).contiguous()


def written(path, frames=None, **given):
    settings = MuxSettings(crf=8, **given.pop("settings", {}))
    write_video(coloured() if frames is None else frames, path, **{"fps": FPS, "settings": settings} | given)
    return path


def turned(path, a, b, c, d):
    """Writes a display matrix into the track of an mp4 file."""
    content = path.read_bytes()
    track = content.index(IDENTITY, content.index(b"tkhd"))
    matrix = struct.pack(">9i", *(UNIT * value for value in (a, b)), 0, *(UNIT * value for value in (c, d)), 0, 0, 0, 0x40000000)
    path.write_bytes(content[:track] + matrix + content[track + 36 :])
    return path


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ((0, -1, 1, 0), lambda image: image.rot90(1)),
        ((-1, 0, 0, -1), lambda image: image.rot90(2)),
        ((0, 1, -1, 0), lambda image: image.rot90(-1)),
        ((-1, 0, 0, 1), lambda image: image.flip(1)),
        ((1, 0, 0, -1), lambda image: image.flip(0)),
        ((0, 1, 1, 0), lambda image: image.transpose(0, 1)),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_frames_are_upright(tmp_path, matrix, expected):
    plain = read_video(written(tmp_path / "a.mp4")).frames
    shown = read_video(turned(tmp_path / "a.mp4", *matrix)).frames
    assert torch.equal(shown[0], expected(plain[0]))


@pytest.mark.parametrize("matrix, size", [((1, 0, 0, 1), (20, 12)), ((0, -1, 1, 0), (12, 20))])
def test_frames_are_read_at_a_small_size(tmp_path, matrix, size):
    path = turned(written(tmp_path / "a.mp4"), *matrix)
    whole = read_video(path).frames
    with open_video(path) as file:
        small = torch.stack([frame for frame, _ in file.read_frames(size)])
    assert small.shape == (3, size[1], size[0], 3)
    reduced = torch.nn.functional.interpolate(whole.movedim(-1, 1).float(), size[::-1], mode="area").movedim(1, -1)
    assert (small.float() - reduced).abs().mean() < 1


def test_reading_and_writing_ten_times_keeps_the_mean(tmp_path):
    frames = coloured()
    for _ in range(10):
        frames = read_video(written(tmp_path / "a.mp4", frames)).frames
    assert abs(frames.float().mean().item() - 255 * coloured().mean().item()) < 0.3


def small(name, folder, *streams, **options):
    write_clip(folder / name, *streams, options=options)
    return folder / name


@pytest.mark.parametrize(
    "name",
    ["trimmed.mp4", "trimend.mp4", "plain.avi", "fewer.avi", "latevideo.mkv", "latevideo.ts", "lateaudio.mp4", "vfr.mp4", "vfr.mkv",
     "raw.h264", "resized.ts", "changes.ts", "ch8.mkv", "ch16.mkv", "ch24.mov", "float64.mkv", "coverfirst.mp4", "noaudio.mkv"],
)  # fmt: skip
def test_what_is_shown_and_heard_is_read(name, tmp_path):
    right = ODD_FILES[name].right
    with open_video(make_odd_file(name, tmp_path)) as file:
        frames = [(frame, seconds) for frame, seconds in file.read_frames()]
        wave, rate = file.read_audio()
        assert float(file.fps) == pytest.approx(right.fps, rel=0.03) and file.size == right.size
    assert len(frames) == right.frames and abs(picture_number(frames[0][0].numpy(), right.of) - right.first) <= 1
    times = [seconds for _, seconds in frames]
    assert times[0] == 0 and times == sorted(set(times)) and len({frame.shape for frame, _ in frames}) == 1
    if right.click is None:
        assert wave is None and rate is None
    else:
        assert len(wave) == right.channels and click_time(wave.numpy(), rate) == pytest.approx(right.click, abs=right.slack)


def test_the_end_of_a_stream_without_a_stated_duration_is_kept(tmp_path):
    audio = read_video(make_odd_file("base.ts", tmp_path)).audio
    assert audio.shape[1] >= 96_000 and audio.shape[1] % 1024 == 0


def test_what_the_encoder_adds_at_the_end_is_cut_where_the_file_states_it(tmp_path):
    path = written(tmp_path / "a.mp4", audio=torch.rand(2, 3_000), sample_rate=16_000)
    with open_video(path) as file:
        for _ in file.read_frames():
            pass
        assert file.read_audio()[0].shape == (2, 3_000)
        assert file.read_audio(with_padding=True)[0].shape == (2, 3_072)


@pytest.mark.parametrize("name", ["cover.mp3", "cover.m4a", "audioonly.m4a", "playlist.mp4", "playlist.ffconcat", "empty.mp4"])
def test_a_file_without_a_video_is_one_line(name, tmp_path):
    with pytest.raises(ValueError, match=ODD_FILES[name].right.line) as caught:
        read_video(make_odd_file(name, tmp_path))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_video(tmp_path)


@pytest.mark.parametrize("content", ["#EXTM3U\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_playlist_reaches_no_network(content, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / "a.mp4"
        path.write_text(content.format(f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"))
        with pytest.raises(ValueError, match="a.mp4"):
            read_video(path)
        with pytest.raises(BlockingIOError):
            server.accept()


def cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


@pytest.mark.parametrize("options", [{"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_a_file_without_its_end_is_damaged(options, tmp_path):
    path = cut(small("a.mp4", tmp_path, Pictures(frames=20, options={"g": "5"}), Sound(seconds=0.8), **options), 0.7)
    with pytest.raises(ValueError, match="a.mp4 is damaged") as caught:
        read_video(path)
    assert "\n" not in str(caught.value)


def test_a_broken_frame_is_damage(tmp_path):
    path = cut(small("a.h264", tmp_path, Pictures(frames=20)), 0.7)
    with pytest.raises(ValueError, match=r"a.h264 is damaged: 1 of its \d+ frames are broken"):
        read_video(path)


def test_a_window_is_read(tmp_path):
    path = small("a.mp4", tmp_path, Pictures(), Sound(layout="mono"))
    with open_video(path, Window(0.4, 0.8)) as file:
        frames = [frame for frame, _ in file.read_frames()]
        wave, rate = file.read_audio()
    assert len(frames) == 20 and abs(picture_number(frames[0].numpy(), 50) - 10) <= 1
    assert wave.shape == (1, 38_400) and click_time(wave.numpy(), rate) == pytest.approx(0.6, abs=0.005)
    with open_video(path, Window(0.4)) as file:
        assert len(list(file.read_frames())) == 40
    with open_video(path, Window(5)) as file, pytest.raises(ValueError, match="no frames from 5 s on; use an earlier start"):
        list(file.read_frames())


def test_frames_before_time_0_are_shown(tmp_path):
    path = small("a.ts", tmp_path, Pictures(frames=20), Sound(seconds=0.8), output_ts_offset="95441")  # near 2³³ / 90 000 Hz
    with open_video(path) as file:
        frames = list(file.read_frames())
        assert len(frames) == file.frames == 20
        assert file.read_audio()[0].shape[1] >= 38_000
    with open_video(path) as file:
        for _ in file.read_frames():
            file.skip_frames()
        assert file.frames == 20


def test_a_late_window_of_a_long_file_is_read_from_the_key_frame_before_it(tmp_path):
    path = small("a.mp4", tmp_path, Pictures(frames=120, fps=Fraction(5), options={"g": "10"}), Sound(seconds=24, click=21.0))
    with open_video(path, Window(20, 2)) as file:
        frames = [frame for frame, _ in file.read_frames()]
        wave, rate = file.read_audio()
    assert len(frames) == 10 and abs(picture_number(frames[0].numpy(), 120) - 100) <= 1
    assert click_time(wave.numpy(), rate) == pytest.approx(1.0, abs=0.005)


def test_a_file_in_memory_is_read(tmp_path):
    path = small("a.mkv", tmp_path, Pictures(frames=5), Sound(seconds=0.2, click=0.1))
    with open_video(io.BytesIO(path.read_bytes())) as file:
        frames = [frame for frame, _ in file.read_frames()]
        assert torch.equal(torch.stack(frames), read_video(path).frames) and file.fps == 25
    with pytest.raises(ValueError, match="the video in memory is damaged"), open_video(io.BytesIO(b"no video")):
        pass


def block(at, samples=480, rate=48_000, layout="stereo", form="flt", value=0.5):
    channels = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.full((1, samples * channels), value, np.float32), form, layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), None if at is None else round(at * rate)
    return frame


def joined(*frames, video_start=Fraction(0), jumps=False):
    waveform = Waveform(jumps)
    for frame in frames:
        waveform.add(frame)
    return waveform.join(video_start)


def test_gaps_in_the_audio_are_silence():
    wave = joined(block(0), block(0.01), block(0.5))
    assert wave.shape == (2, 24_480) and (wave[:, :960] == 0.5).all() and (wave[:, 960:24_000] == 0).all()
    assert joined(block(0), block(0.02), block(0.03)).shape == (2, 1440)  # a rounding error
    assert joined(block(0), block(3600), jumps=True).shape == (2, 960)  # a broadcast's new time base
    assert joined(block(0), block(1e9)).shape == (2, 960)  # no silence of years
    assert joined(block(1e9)).shape == (2, 480)
    assert joined(block(None), block(None), video_start=None).shape == (2, 960)


def test_audio_is_aligned_with_the_first_frame():
    assert joined(block(0.25)).shape == (2, 12_480)
    assert joined(block(0), video_start=Fraction(1, 200)).shape == (2, 240)
    assert joined(block(0), video_start=Fraction(3)) is None


def test_a_change_of_the_layout_and_the_rate_is_resampled():
    wave = joined(block(0), block(0.01, 240, 24_000, "mono"), block(0.02, layout="5.1"))
    assert wave.shape[0] == 2 and abs(wave.shape[1] - 1440) < 48 and wave.isfinite().all()
    assert joined(block(0, layout="16 channels", value=0.25)).shape == (16, 480)


def times(*stamps, jumps=False):
    clock = Clock(lambda: Fraction(1, 10), jumps)
    return [float(clock.time(None if each is None else Fraction(each).limit_denominator(1000))) for each in stamps]


def test_times_come_from_stamps():
    assert times(1.48, 1.5, 2.5) == pytest.approx([0, 0.02, 1.02])
    assert times(None, None, None) == pytest.approx([0, 0.1, 0.2])
    assert times(0, None, 0.3) == pytest.approx([0, 0.1, 0.3])
    assert times(0, 0.1, 0.1, 0.2) == pytest.approx([0, 0.1, 0.101, 0.2])
    assert times(7200, 7200.1, 0, 0.1) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert times(0, 50, jumps=True) == pytest.approx([0, 0.1]) and times(0, 50) == [0, 50]


def test_a_frame_that_cannot_be_converted_is_one_line(tmp_path, monkeypatch):
    def fail(self, frame):
        raise av.ArgumentError(22, "sws_scale_frame()")

    monkeypatch.setattr(UprightFrames, "convert", fail)
    with pytest.raises(ValueError, match=r"a.mp4 is damaged or is not a readable video \(") as caught:
        read_video(written(tmp_path / "a.mp4"))
    assert "\n" not in str(caught.value)


def test_a_stream_that_appears_while_a_file_is_read_is_no_error(tmp_path):
    path = make_odd_file("old.flv", tmp_path)
    path.write_bytes(damaged(path.read_bytes(), random.Random("6 old.flv 19")))
    assert len(read_video(path).frames) > 40
