"""The frame rate that Sync Report and Save Video + Audio find themselves."""

from fractions import Fraction

import pytest
import torch

from duet_av.nodes.found_fps import find_fps
from duet_av.nodes.mux import DuetMux
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.nodes.sync_report import DuetSyncReport


def sound(seconds: float, rate: int = 48_000, clips: int = 1) -> dict:
    return {"waveform": torch.zeros(clips, 2, round(seconds * rate)), "sample_rate": rate}


def ltx_seconds(frames: int, fps: float) -> float:
    """How much audio ComfyUI decodes for a clip of LTX-2: 25 latent frames a second of 4 steps each, without the last 3 steps."""
    return (4 * round(frames / fps * 25) - 3) / 100


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_it_is_that_of_ltx_from_two_seconds_on(fps):
    for frames in range(8 * (2 * fps // 8) + 1, 500, 8):
        assert find_fps(0, range(frames), sound(ltx_seconds(frames, fps)))[0] == fps


def test_it_is_that_of_minimax_h3():
    for frames in range(22, 600, 17):
        assert find_fps(0, range(frames), sound(round(frames / 24 * 40) / 40, 32_000))[0] == 24


def test_a_value_is_used_as_it_is():
    assert find_fps(16.0, range(32), sound(1.0)) == (16.0, [])


def test_what_else_would_fit_is_said():
    assert find_fps(0, range(25), sound(ltx_seconds(25, 25)))[1] == ["fps: 25, found from the lengths of frames and audio"]
    fps, notes = find_fps(0, range(17), sound(ltx_seconds(17, 24)))
    assert fps == 25 and notes == ["fps: 25, found from the lengths of frames and audio (24 would fit too)"]


def test_broadcast_rates_are_found_where_no_whole_one_fits():
    assert find_fps(0, range(3000), sound(3000 * 1001 / 30_000, 8000))[0] == Fraction(30_000, 1001)


@pytest.mark.parametrize("frames, audio, message", [
    (32, None, "fps is 0, and there is no audio to find it from; set fps"),
    (100, sound(7.3), "fps is 0, and 100 frames and 7.30 s of audio fit no usual frame rate; set fps"),
])  # fmt: skip
def test_where_there_is_none_it_is_said(frames, audio, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        find_fps(0, range(frames), audio)


NOTE = "fps: 25, found from the lengths of frames and audio"


def test_the_report_of_a_batch_says_what_it_found():
    output = DuetSyncReport.execute(fps=0.0, images=torch.rand(2 * 25, 16, 16, 3), audio=sound(0.97, clips=2))
    assert [each["fps"] for each in output.shown["duet"][0]["clips"]] == [25, 25]
    assert output.shown["text"].count(NOTE) == 1 and output.args[0].endswith(NOTE)


def test_a_saved_file_has_what_was_found(tmp_path):
    token = session.set(Session(Folders(output=tmp_path)))
    try:
        options = {"container": {"container": "mp4", "video_codec": "h264", "audio_codec": "aac"}, "filename_prefix": "a"}
        output = DuetMux.clone_for_run({}).execute(torch.rand(25, 16, 16, 3), 0.0, audio=sound(0.97), **options)
    finally:
        session.reset(token)
    assert output.shown["duet"][0]["files"][0]["fps"] == 25 and NOTE in output.args[1]
    assert output.args[0].get_components().frame_rate == 25
