"""What `duet run` says of a file it wrote."""

import re

import pytest
import torch
from PIL import Image

from duet_av.av_models.media import write_video
from duet_av.benchmarks.odd_files import make_odd_file
from duet_av.bounce.detect.report import measure_file
from duet_av.bounce.world.render import render
from duet_av.bounce.world.sound import SAMPLE_RATE, render_sound
from duet_av.bounce.world.world import FPS, FRAMES, SECONDS, simulate
from duet_av.commands import run


def test_a_true_clip_is_measured_as_it_is(tmp_path):
    worlds = simulate(1, "val", balls=1)
    frames = torch.from_numpy(render(worlds, 64)[0, :FRAMES]).float() / 255
    sound = torch.from_numpy(render_sound(worlds))
    write_video(frames, tmp_path / "clip.mp4", fps=FPS, audio=sound, sample_rate=SAMPLE_RATE)
    report = measure_file(tmp_path / "clip.mp4")
    contacts = int((worlds.contact_time < SECONDS).sum())
    assert (report.frames, report.picture_seconds) == (FRAMES, SECONDS)
    assert (report.contacts, report.onsets, report.matches) == (contacts,) * 3
    assert f"{contacts} contacts in the video" in report.summary()


def test_a_file_without_sound_or_balls_says_so(tmp_path):
    write_video(torch.full((4, 32, 32, 3), 0.5), tmp_path / "still.mp4", fps=8)
    report = measure_file(tmp_path / "still.mp4")
    assert report.contacts == 0 and report.sound_seconds == 0
    assert report.summary() == "4 frames in 0.500 s, no audio"


def flashes(path, size=(96, 64), at=(8, 20, 33), count=48, channels=1):
    """A video of some other kind: grey frames that flash together with clicks."""
    frames = torch.full((count, size[1], size[0], 3), 0.3)
    sound = torch.zeros(channels, count * 1000)
    for frame in at:
        frames[frame] = 0.8
        sound[:, frame * 1000 : frame * 1000 + 200] = 0.5 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    write_video(frames, path, fps=16, audio=sound, sample_rate=16_000)
    return path


@pytest.mark.parametrize("size", [(48, 64), (96, 64), (640, 352)])
def test_events_of_any_other_video_are_counted(tmp_path, size):
    report = measure_file(flashes(tmp_path / "clip.mp4", size))
    assert (report.contacts, report.onsets, report.matches) == (3, 3, 3)
    assert "; 3 events in the video, 3 events in the audio, 3 matched, median offset " in report.summary()


def test_a_small_clip_of_many_colours_is_not_taken_for_bounce(tmp_path, monkeypatch):
    monkeypatch.setattr("duet_av.bounce.detect.report.observe", None)
    noise = torch.rand(4, 4, 4, 3, generator=torch.Generator().manual_seed(0)).round()
    noise = noise.repeat_interleave(16, 1).repeat_interleave(16, 2)
    write_video(noise, tmp_path / "noise.mp4", fps=8, audio=torch.zeros(1, 4000), sample_rate=8_000)
    assert measure_file(tmp_path / "noise.mp4").kinds == ("event", "event")


@pytest.mark.parametrize("name", ["audioonly.wav", "audioonly.m4a", "cover.mp3", "cover.flac"])
def test_audio_alone_is_measured(tmp_path, name):
    line = measure_file(make_odd_file(name, tmp_path)).summary()
    assert re.fullmatch(r"\d\.\d{3} s of audio, peak -?\d+\.\d dBFS", line)


@pytest.mark.parametrize("name", ["one.mp4", "ch16.mkv", "surround.mp4", "latevideo.mp4", "vfr.mp4", "noaudio.mkv", "a.gif"])
def test_odd_files_have_a_line(tmp_path, name):
    path = tmp_path / name
    if name == "one.mp4":
        write_video(torch.zeros(1, 2, 2, 3), path, fps=16, audio=torch.zeros(1, 1), sample_rate=16_000)
    elif name == "a.gif":
        first, *others = (Image.new("P", (16, 16), shade) for shade in range(5))
        first.save(path, save_all=True, append_images=others, duration=100)
    else:
        make_odd_file(name, tmp_path)
    assert re.match(r"\d+ frames in \d+\.\d{3} s, ", measure_file(path).summary())


def test_the_line_of_a_run_is_a_line_whatever_was_saved(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "image.png").write_bytes(b"nothing")
    assert run._measured(tmp_path / "image.png") == []
    (line,) = run._measured(tmp_path / "broken.mp4")
    assert line.startswith("not measured: ") and "broken.mp4 is damaged" in line and "\n" not in line
    assert run._measured(flashes(tmp_path / "clip.mp4"))[0].startswith("measured: 48 frames in 3.000 s, 3.000 s of audio")


def test_a_long_measurement_shows_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("duet_av.commands.bars.DELAY", 0.0)
    run._measured(flashes(tmp_path / "clip.mp4"))
    assert "clip.mp4: " in capsys.readouterr().err
