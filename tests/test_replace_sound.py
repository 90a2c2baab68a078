"""A video's sound is replaced to the sample, and its pictures are the very same packets."""

from fractions import Fraction

import av
import pytest
import torch

from duet_av.av_models.media import MuxSettings, read_metadata, read_video, write_video
from duet_av.av_models.media.audio import audio_frame
from duet_av.av_models.media.replace_sound import replace_sound
from duet_av.nodes.replace_sound import DuetReplaceSound
from duet_av.nodes.stand_in.video import VideoComponents, VideoFromComponents, VideoFromFile

FRAMES, RATE = 31, 16_000


def video(path, fps=30, codec="h264", sound="aac"):
    torch.manual_seed(0)
    settings = MuxSettings(container=path.suffix[1:], video_codec=codec, audio_codec=sound)
    write_video(torch.rand(FRAMES, 48, 64, 3), path, fps=fps, audio=noise(1.0), sample_rate=RATE, settings=settings)
    return path


def noise(seconds: float):
    return torch.rand(1, round(seconds * RATE)) - 0.5


def packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


@pytest.mark.parametrize("name, fps, codec, old, rate", [
    ("a.mp4", 30, "h264", "aac", RATE), ("a.mp4", 12.5, "h265", "aac", RATE), ("a.webm", 25, "vp9", "opus", 48_000),
    ("a.mkv", 23.976, "h264", "aac", RATE),
])  # fmt: skip
@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_pictures_are_copied_and_sound_is_as_long_as_they_are(tmp_path, name, fps, codec, old, rate, seconds):
    source = video(tmp_path / name, fps, codec, old)
    report = replace_sound(source, tmp_path / f"new{source.suffix}", noise(seconds), RATE, metadata={"prompt": "{}"})
    before, after = read_video(source), read_video(report.path)
    assert packets(report.path) == packets(source)
    assert torch.equal(before.frames, after.frames) and before.fps == after.fps
    assert report.samples == round(FRAMES / before.fps * rate) and after.sample_rate == rate
    assert abs(after.audio.shape[1] - report.samples) <= 1024  # an encoder's frame
    assert (report.padded_samples > 0) == (seconds < FRAMES / fps)
    assert read_metadata(report.path)["prompt"] == "{}"


def test_opus_is_asked_for_no_more_than_it_takes(tmp_path):
    source = video(tmp_path / "a.webm", 25, "vp9", "opus")
    assert replace_sound(source, tmp_path / "b.webm", noise(1.0), RATE, bitrate=512_000).path.exists()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    source = video(tmp_path / "a.mp4")
    with pytest.raises(OSError, match="^cannot write "):
        replace_sound(source, tmp_path / "a.mp4" / "b.mp4", noise(1.0), RATE)
    with pytest.raises(ValueError, match="a.mp4 is the video itself; choose another name for the new file$"):
        replace_sound(source, source, noise(1.0), RATE)
    assert read_video(source).audio.shape[1] >= RATE
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interrupt_leaves_nothing_and_progress_counts_pictures(tmp_path):
    source, seen = video(tmp_path / "a.mp4"), []

    def check() -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_sound(
            source, tmp_path / "b.mp4", noise(1.0), RATE, progress=lambda *count: seen.append(count), check_interrupt=check
        )
    assert seen == [(1, FRAMES), (2, FRAMES), (3, FRAMES)] and [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_what_is_no_video_is_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="text.mp4 is damaged or is not a readable video .*; encode or copy it again$"):
        replace_sound(tmp_path / "text.mp4", tmp_path / "b.mp4", noise(1.0), RATE)
    with pytest.raises(FileNotFoundError, match="^there is no file .*gone.mp4; check the name$"):
        replace_sound(tmp_path / "gone.mp4", tmp_path / "b.mp4", noise(1.0), RATE)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono")
        out.mux([*stream.encode(audio_frame(noise(1.0), RATE)), *stream.encode(None)])
    with pytest.raises(ValueError, match="sound.mp4 has no video stream; give a video file$"):
        replace_sound(tmp_path / "sound.mp4", tmp_path / "b.mp4", noise(1.0), RATE)


def node(**hidden):
    return DuetReplaceSound.clone_for_run({"prompt": {"1": {}}, "extra_pnginfo": None} | hidden)


SOUND = {"waveform": noise(1.0)[None], "sample_rate": RATE}


def test_the_node_saves_beside_other_files(tmp_path, folders):
    source = video(tmp_path / "a.mp4")
    out = node().execute(VideoFromFile(source), SOUND, "clip", 96)
    [shown] = out.ui["images"]
    assert packets(tmp_path / "out" / shown["filename"]) == packets(source)
    assert read_metadata(tmp_path / "out" / shown["filename"])["prompt"] == '{"1": {}}'
    assert out.ui["duet"][0]["files"][0]["copied"] == FRAMES and len(out.ui["text"]) == 1


def test_a_video_in_memory_is_encoded_and_the_report_says_so(tmp_path, folders):
    made = VideoFromComponents(VideoComponents(torch.rand(8, 16, 24, 3), Fraction(8)))
    out = node().execute(made, SOUND, "%width%x%height%", 96)
    file = tmp_path / "out" / "24x16_00001_.mp4"
    saved = read_video(file)
    assert saved.frames.shape == (8, 16, 24, 3) and saved.fps == 8 and saved.sample_rate == RATE
    assert out.ui["text"][1] == "video is not a file, so its frames were encoded" and out.args[1] == "\n".join(out.ui["text"])
    assert read_metadata(file)["prompt"] == '{"1": {}}' and out.args[0].get_stream_source() == str(file)
    assert out.ui["duet"][0]["files"] == [{"path": str(file), "seconds": 1.0, "samples": RATE, "copied": 0}]


def test_a_trimmed_video_is_encoded(tmp_path, folders):
    class Trimmed(VideoFromFile):
        def get_active_trim_window(self) -> tuple[float, float]:
            return 0.5, 0.0

    out = node().execute(Trimmed(video(tmp_path / "a.mp4")), SOUND, "clip", 96)
    assert out.ui["text"][1] == "video is trimmed, so its frames were encoded"


def test_audio_of_another_length_is_a_warning(tmp_path, folders):
    longer = {"waveform": noise(2.0)[None], "sample_rate": RATE}
    out = node().execute(VideoFromFile(video(tmp_path / "a.mp4", fps=31)), longer, "clip", 96)
    said = ["clip_00001_.mp4: the audio is 1.00 s longer than the video, so its end was cut"]
    assert out.ui["duet"][0]["warnings"] == said == out.ui["text"][1:]
    shorter = {"waveform": noise(0.5)[None], "sample_rate": RATE}
    out = node().execute(VideoFromFile(video(tmp_path / "a.mp4", fps=31)), shorter, "clip", 96)
    assert out.ui["text"][1:] == ["clip_00002_.mp4: the audio is 0.50 s shorter than the video, so silence was added"]


def test_a_preview_leaves_the_output_folder_alone(tmp_path, folders):
    out = node().execute(VideoFromFile(video(tmp_path / "a.mp4")), SOUND, "clip", 96, save_output=False)
    assert out.ui["images"] == [{"filename": "clip_00001_.mp4", "subfolder": "", "type": "temp"}]
    assert not (tmp_path / "out").exists() and (folders.temp_folder / "clip_00001_.mp4").is_file()
    assert out.ui["duet"][0]["saved"] is False and "preview only: not saved in the output folder" in out.ui["text"]


def test_a_missing_file_and_a_batch_of_sounds_are_one_line(tmp_path, folders):
    with pytest.raises(FileNotFoundError, match="^there is no file .*gone.mp4; check the name$"):
        node().execute(VideoFromFile(tmp_path / "gone.mp4"), SOUND, "clip", 96)
    with pytest.raises(ValueError, match="^audio is a batch of 2; use one audio clip$"):
        node().execute(VideoFromFile(tmp_path / "gone.mp4"), SOUND | {"waveform": torch.zeros(2, 1, 9)}, "clip", 96)
