"""What `duet run` says of a file it wrote."""

import torch

from duet_av.av_models.media import write_video
from duet_av.bounce.detect.report import measure_file
from duet_av.bounce.world.render import render
from duet_av.bounce.world.sound import SAMPLE_RATE, render_sound
from duet_av.bounce.world.world import FPS, FRAMES, SECONDS, simulate


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
