"""A video's sound is replaced to the sample, and its pictures are the very same packets."""

import av
import pytest
import torch

from duet_av.av_models.media import MuxSettings, read_metadata, read_video, write_video
from duet_av.av_models.media.audio import audio_frame
from duet_av.av_models.media.replace_sound import choose_container, replace_sound
from duet_av.nodes.replace_sound import DuetReplaceSound
from duet_av.nodes.stand_in import Folders, Session, session
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


@pytest.mark.parametrize("name, kind", [("a.MOV", "mp4"), ("a.webm", "webm"), ("a.avi", "mkv"), ("a", "mkv")])
def test_the_container_can_hold_the_pictures_and_the_sound(name, kind):
    assert choose_container(name) == kind


def test_what_is_no_video_is_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="text.mp4 is damaged or is not a video .*; give another file$"):
        replace_sound(tmp_path / "text.mp4", tmp_path / "b.mp4", noise(1.0), RATE)
    with pytest.raises(FileNotFoundError, match="^there is no video .*gone.mp4; check the name$"):
        replace_sound(tmp_path / "gone.mp4", tmp_path / "b.mp4", noise(1.0), RATE)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono")
        out.mux([*stream.encode(audio_frame(noise(1.0), RATE)), *stream.encode(None)])
    with pytest.raises(ValueError, match="sound.mp4 has no video stream; give a video file$"):
        replace_sound(tmp_path / "sound.mp4", tmp_path / "b.mp4", noise(1.0), RATE)


def test_the_node_saves_beside_other_files_and_takes_whole_files_alone(tmp_path):
    session.set(Session(folders=Folders(output=tmp_path / "out")))
    source = video(tmp_path / "a.mp4")
    node = DuetReplaceSound.clone_for_run({"prompt": {"1": {}}, "extra_pnginfo": None})
    sound = {"waveform": noise(1.0)[None], "sample_rate": RATE}
    out = node.execute(VideoFromFile(source), sound, "clip", 96)
    [shown] = out.ui["images"]
    assert packets(tmp_path / "out" / shown["filename"]) == packets(source)
    assert read_metadata(tmp_path / "out" / shown["filename"])["prompt"] == '{"1": {}}'
    made = VideoFromComponents(VideoComponents(torch.zeros(2, 16, 16, 3), 8))
    with pytest.raises(ValueError, match="^video is not a file, so its frames cannot be copied; connect Load Video, or use "):
        node.execute(made, sound, "clip", 96)
