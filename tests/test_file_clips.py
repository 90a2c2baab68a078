"""Clips of a VIDEO that is a file: Sync Report and Encode read the file itself, by its time stamps."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch

from duet_av.av_models.media.fit import fit_frames
from duet_av.av_models.media.read import VideoFile, Window
from duet_av.av_models.metrics.score import score_file
from duet_av.av_models.shapes import VideoShape
from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.benchmarks.odd_files import make_odd_file
from duet_av.benchmarks.shown import click_time, picture_number
from duet_av.nodes import clip_inputs
from duet_av.nodes.clip_inputs import NO_STAMPS, read_file_clip
from duet_av.nodes.encode import DuetEncode
from duet_av.nodes.stand_in.video import VideoComponents, VideoFromComponents, VideoFromFile, VideoInput
from duet_av.nodes.sync_report import DuetSyncReport
from duet_av.tests.tiny import tiny_model

WHOLE = Window()


@pytest.mark.parametrize("name", ["latevideo.mkv", "vfr.mp4", "trimmed.mp4"])
def test_the_sync_report_of_a_file_is_its_score(name, tmp_path):
    path = make_odd_file(name, tmp_path)
    score = score_file(path)
    for source in (str(path), io.BytesIO(path.read_bytes())):
        output = DuetSyncReport.execute(16.0, video=VideoFromFile(source))
        assert output.args[0].splitlines() == score.lines()
        assert output.args[3] == (score.facts()["sync"]["offset_ms"] or 0.0)


def test_the_sync_report_of_a_part_is_of_that_part(tmp_path):
    path = make_odd_file("base.mp4", tmp_path)
    part = DuetSyncReport.execute(16.0, video=VideoFromFile(path, start_time=0.4, duration=0.8)).shown["duet"][0]["clips"][0]
    assert part["frames"] == 20 and part["sound"]["seconds"] == pytest.approx(0.8)
    assert part["seconds"] == pytest.approx(0.8)


def test_the_sync_report_says_what_is_not_used_or_not_known(tmp_path):
    path = make_odd_file("base.mp4", tmp_path)
    both = DuetSyncReport.execute(16.0, images=torch.zeros(2, 8, 8, 3), video=VideoFromFile(path)).shown
    assert both["duet"][0]["warnings"][0] == "images is connected but not used, because video is connected"

    class Other(VideoInput):
        def get_components(self):
            return VideoComponents(torch.rand(4, 8, 8, 3), Fraction(16))

        def get_dimensions(self):
            return 8, 8

    assert NO_STAMPS in DuetSyncReport.execute(16.0, video=Other()).shown["duet"][0]["warnings"]
    made = VideoFromComponents(VideoComponents(torch.rand(4, 8, 8, 3), Fraction(16)))
    assert NO_STAMPS not in DuetSyncReport.execute(16.0, video=made).shown["duet"][0]["warnings"]


def test_a_damaged_file_is_one_line(tmp_path):
    path = make_odd_file("cutmdat.mp4", tmp_path)
    for run in (lambda video: DuetSyncReport.execute(16.0, video=video), lambda video: encode(tiny_model(), video)):
        with pytest.raises(ValueError, match="cutmdat.mp4 is damaged") as caught:
            run(VideoFromFile(path))
        assert "\n" not in str(caught.value)


def narrow(path):
    """ComfyUI pads frames whose width is no multiple of 32."""
    write_clip(path, Pictures(size=(72, 50), frames=10), Sound(seconds=0.4))
    return path


@pytest.mark.parametrize("name", ["base.mkv", "hevc10.mp4", "rot90.mp4", "narrow.mp4", "single.mp4"])
@pytest.mark.parametrize("fps, height, width", [(16, 64, 64), (Fraction(24_000, 1001), 40, 72)])
def test_a_file_becomes_the_clip_that_its_whole_frames_become(name, fps, height, width, tmp_path):
    path = make_odd_file(name, tmp_path) if name != "narrow.mp4" else narrow(tmp_path / name)
    parts = VideoFromFile(path).get_components()
    for frames, until in ((40, None), (3, 3)):
        shape = VideoShape(frames, height, width, fps)
        clip = read_file_clip(path, WHOLE, shape, until)
        assert torch.equal(clip.images.clip(frames), fit_frames(parts.images, parts.frame_rate, shape))
        assert clip.images.shape == parts.images.shape and clip.fps == parts.frame_rate
        assert torch.equal(clip.audio["waveform"], parts.audio["waveform"])


def test_frames_are_taken_at_their_times(tmp_path):
    path = make_odd_file("vfr.mp4", tmp_path)  # 60 frames in 2 s, then 20 in 2 s
    clip = read_file_clip(path, WHOLE, VideoShape(1, 96, 128, 10), None)
    shown = [picture_number((255 * frame).numpy(), 80) for frame in clip.images.clip(40)]
    expected = [min(3 * i, 60) if i <= 20 else 60 + (i - 20) for i in range(40)]
    assert np.abs(np.subtract(shown, expected)).max() <= 1
    assert float(clip.fps) == pytest.approx(80 / 4, rel=0.02) and len(clip.images) == 80


def test_audio_is_taken_from_the_first_frame_on(tmp_path):
    path = make_odd_file("latevideo.mkv", tmp_path)
    audio = read_file_clip(path, WHOLE, VideoShape(1, 96, 128, 25), None).audio
    assert click_time(audio["waveform"][0].numpy(), audio["sample_rate"]) == pytest.approx(0.52, abs=0.015)


def test_frames_after_the_clip_are_not_converted(tmp_path, monkeypatch):
    write_clip(tmp_path / "a.mp4", Pictures(frames=200), Sound(seconds=8))
    decoded = []
    decode = VideoFile.decode_frames
    monkeypatch.setattr(VideoFile, "decode_frames", lambda file: (decoded.append(0) or frame for frame in decode(file)))
    clip = read_file_clip(tmp_path / "a.mp4", WHOLE, VideoShape(8, 16, 16, 16), 8)
    assert len(decoded) < 20 and len(clip.images.fitted) == 8 and len(clip.images) == 200
    assert clip.audio["waveform"].shape[-1] > 7.9 * 48_000


def test_reading_can_be_interrupted(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(clip_inputs, "check_interrupt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_file_clip(make_odd_file("single.mp4", tmp_path), WHOLE, VideoShape(8, 16, 16, 16), None)


def encode(model, video, seconds=0.0):
    return DuetEncode.execute(model, 16.0, seconds, {"keep": "what is connected"}, video=video)


def test_a_file_is_encoded_as_its_parts_are(tmp_path):
    model, path = tiny_model(), make_odd_file("base.mp4", tmp_path)
    parts = VideoFromFile(path).get_components()
    for seconds in (0.0, 0.5):
        whole = encode(model, VideoFromFile(path), seconds)
        apart = encode(model, VideoFromComponents(parts), seconds)
        assert whole.shown["text"] == apart.shown["text"] and whole.args[0]["duet_shape"] == apart.args[0]["duet_shape"]
        latents = zip(whole.args[0]["samples"].unbind(), apart.args[0]["samples"].unbind())
        assert all(torch.equal(a, b) for a, b in latents)
