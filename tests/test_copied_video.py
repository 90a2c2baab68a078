"""Any video file gets new audio: it starts with the first frame that is shown, and the frames are the same to the bit."""

import random
from fractions import Fraction
from io import BytesIO

import av
import pytest
import torch
from av.stream import Disposition

from duet_av.av_models.media import MuxSettings, read_video, write_video
from duet_av.av_models.media.copyable import NotCopyableError
from duet_av.av_models.media.replace_sound import plan_copy, replace_sound
from duet_av.benchmarks.file_cells import NEW_CLICK, NEW_RATE, check_new_audio
from duet_av.benchmarks.make_clip import CLICK_SECONDS, Pictures, Sound, patched, write_clip
from duet_av.benchmarks.odd_files import LONG, ODD_FILES, make_odd_file
from duet_av.benchmarks.shown import look
from duet_av.nodes.replace_sound import DuetReplaceSound
from duet_av.nodes.stand_in.video import VideoFromFile
from duet_av.tests.fuzz_media import damaged


def clicked(seconds: float = 5.0, channels: int = 1):
    """Audio that is silent but for one click."""
    wave = torch.zeros(channels, round(seconds * NEW_RATE))
    first, length = round(NEW_CLICK * NEW_RATE), round(CLICK_SECONDS * NEW_RATE)
    wave[:, first : first + length] = 0.8 * torch.sin(torch.arange(length) / 5)
    return wave


def resound(source, audio=None, **options):
    """Writes the file beside `source`, and returns the report."""
    plan = plan_copy(source)
    return replace_sound(
        plan, source.with_name(f"new.{plan.container}"), clicked() if audio is None else audio, NEW_RATE, **options
    )


@pytest.mark.parametrize("name, container", [
    ("base.mp4", "mp4"), ("latevideo.mp4", "mp4"), ("latevideo.mov", "mp4"), ("latevideo.mkv", "mkv"), ("latevideo.webm", "webm"),
    ("latevideo.ts", "mkv"), ("latevideo.flv", "mkv"), ("latevideo.mpg", "mkv"), ("latefragment.mp4", "mp4"),
    ("lateaudio.mp4", "mp4"), ("lateaudio.ts", "mkv"), ("trimmed.mp4", "mp4"), ("trimmed.mov", "mp4"), ("trimend.mp4", "mp4"),
    ("fewer.avi", "mkv"), ("vfr.mp4", "mp4"), ("vfr.mkv", "mkv"),
    ("raw.h264", "mkv"), ("raw.hevc", "mkv"), ("base.m2ts", "mkv"), ("base.vob", "mkv"), ("base.mxf", "mkv"),
])  # fmt: skip
def test_new_audio_starts_and_ends_with_the_frames_that_are_shown(tmp_path, name, container):
    source = make_odd_file(name, tmp_path)
    report = resound(source)
    assert check_new_audio(source, report.path, ODD_FILES[name].right, encoded=False) == []
    assert report.packets == ODD_FILES[name].right.frames and report.path.suffix == f".{container}"


@pytest.mark.parametrize("name, container, tag", [
    ("hvc1.mp4", "mp4", "hvc1"), ("av1.mp4", "mp4", "av01"), ("av1.webm", "webm", ""),
    ("alpha.webm", "webm", ""), ("vp8.webm", "webm", ""), ("prores.mov", "mov", "apch"),
    ("dnxhr.mov", "mov", "AVdh"), ("base.mov", "mov", "jpeg"), ("png.mov", "mov", "png "), ("raw.mov", "mov", "2vuy"),
    ("raw.avi", "mov", ""), ("ffv1.mkv", "mkv", ""), ("base.ogv", "mkv", ""), ("old.flv", "mkv", "FLV1"),
    ("base.wmv", "mkv", "WMV2"), ("base.3gp", "mov", "h263"), ("rot90.mp4", "mp4", "avc1"), ("full.mp4", "mp4", "avc1"),
])  # fmt: skip
def test_a_copy_loses_nothing(tmp_path, name, container, tag):
    source = make_odd_file(name, tmp_path)
    report = resound(source)
    assert check_new_audio(source, report.path, ODD_FILES[name].right, encoded=False) == []
    assert report.path.suffix == f".{container}" and (not tag or look(report.path).tag == tag) and not report.left_out


@pytest.mark.parametrize("codec, tag", [("h265", "hvc1"), ("av1", "av01")])
def test_videos_of_duet_keep_their_names(tmp_path, codec, tag):
    source = tmp_path / "a.mp4"
    write_video(torch.rand(5, 64, 64, 3), source, fps=25, settings=MuxSettings(video_codec=codec))
    report = resound(source)
    assert look(report.path).tag == tag and look(report.path).digest == look(source).digest


def test_the_name_that_decides_how_frames_are_decoded_is_kept(tmp_path):
    write_clip(tmp_path / "a.avi", Pictures("utvideo", "yuv422p", frames=5))
    report = resound(tmp_path / "a.avi")
    assert torch.equal(read_video(report.path).frames, read_video(tmp_path / "a.avi").frames)


def test_frames_hidden_among_the_last_shown_ones_stay_hidden(tmp_path):
    write_clip(tmp_path / "a.mp4", LONG, Sound(seconds=4))
    patched(tmp_path / "a.mp4", b"elst", 12, (3860).to_bytes(4, "big"))  # ms: amid frames that are stored in another order
    with av.open(str(tmp_path / "a.mp4")) as container:
        hidden = [packet.is_discard for packet in container.demux(video=0) if packet.size]
    assert hidden[-5:] == [True, False, False, True, True]  # two frames are decoded from a hidden one
    report = resound(tmp_path / "a.mp4")
    before, after = look(tmp_path / "a.mp4"), look(report.path)
    assert (after.frames, after.digest) == (before.frames, before.digest) and report.packets == 97
    assert after.end == pytest.approx(97 / 25, abs=0.03)


def test_frames_hidden_in_the_middle_are_not_shown_by_a_copy(tmp_path):
    write_clip(tmp_path / "a.mp4", LONG, Sound(seconds=4))
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    boxes = [data.index(name, data.rindex(b"moov")) - 4 for name in (b"moov", b"trak", b"edts", b"elst")]
    skip = int.from_bytes(data[boxes[3] + 20 : boxes[3] + 24], "big")
    edits = [(1200, skip, 65536), (1000, skip + 12800 * 2, 65536)]  # milliseconds of the clip, from where, speed
    data[boxes[3] + 12 : boxes[3] + 28] = b"".join(part.to_bytes(4, "big") for part in (2, *edits[0], *edits[1]))
    for box in boxes:
        data[box : box + 4] = (int.from_bytes(data[box : box + 4], "big") + 12).to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(data)
    assert look(tmp_path / "a.mp4").frames == 55
    with pytest.raises(NotCopyableError, match="a.mp4: its edit list hides frames in the middle, so it cannot be copied; convert"):
        plan_copy(tmp_path / "a.mp4")


def test_a_recording_that_begins_amid_frames_starts_with_the_first_that_can_be_decoded(tmp_path):
    write_clip(tmp_path / "whole.ts", LONG, Sound(seconds=4))
    (tmp_path / "a.ts").write_bytes((tmp_path / "whole.ts").read_bytes()[188 * 100 :])
    report = resound(tmp_path / "a.ts")
    before, after = look(tmp_path / "a.ts"), look(report.path)
    assert (after.frames, after.digest) == (before.frames, before.digest) and report.packets == before.frames < 100
    assert after.click == pytest.approx(NEW_CLICK, abs=0.01) and report.seconds == before.frames / 25


def test_times_go_on_where_recordings_were_joined(tmp_path):
    part = make_odd_file("base.ts", tmp_path).read_bytes()
    (tmp_path / "a.ts").write_bytes(part + part)
    report = resound(tmp_path / "a.ts")
    assert (report.packets, report.seconds) == (100, 4.0)
    after = look(report.path)
    assert after.frames == 100 and after.seconds == pytest.approx(99 / 25, abs=0.002)


def test_avi_with_reordered_frames_is_timed_by_their_order(tmp_path):
    write_clip(tmp_path / "a.avi", Pictures(options={"bf": "2"}))
    report = resound(tmp_path / "a.avi")
    with av.open(str(report.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 25 for number in range(50)], abs=0.001) and report.seconds == 2


def test_jumping_timestamps_are_damage_not_hours_of_silence(tmp_path):
    write_clip(tmp_path / "a.mkv", Pictures(frames=3, times=[0, 1, 25 * 3600]))
    with pytest.raises(ValueError, match="a.mkv is damaged: its timestamps jump by 3600 s; encode or copy it again$"):
        resound(tmp_path / "a.mkv")


def test_a_frame_that_lasts_very_long_is_damage_too(tmp_path):
    write_clip(tmp_path / "a.avi", Pictures("mpeg4", size=(64, 48), frames=1, fps=Fraction(1, 1000)))
    with pytest.raises(ValueError, match="a.avi is damaged: its timestamps jump by 1000 s; encode or copy it again$"):
        plan_copy(tmp_path / "a.avi")


def test_frames_without_a_key_frame_are_not_copied(tmp_path):
    path = tmp_path / "a.mpg"
    write_clip(path, Pictures("mpeg2video", size=(64, 48), frames=10), muxer="mpeg")
    first = path.read_bytes().index(b"\0\0\1\0") + 5
    kind = path.read_bytes()[first]
    patched(path, b"\0\0\1\0", 5, bytes([kind & ~0x38 | 2 << 3]))  # the first frame says that it builds on another
    assert len(read_video(path).frames) == 10
    with pytest.raises(NotCopyableError, match="its first frames are made of others that it does not hold"):
        plan_copy(path)


def test_a_video_in_memory_is_copied(tmp_path):
    source = make_odd_file("hvc1.mp4", tmp_path)
    report = replace_sound(BytesIO(source.read_bytes()), tmp_path / "new.mp4", clicked(), NEW_RATE)
    assert look(report.path).digest == look(source).digest and look(report.path).tag == "hvc1"


def described(path, source) -> None:
    """Copies a file with tags, chapters, a pixel shape, colours and a timecode."""
    with av.open(str(source)) as given, av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as out:
        video = out.add_stream_from_template(given.streams.video[0])
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        video.codec_context.color_trc, video.codec_context.framerate = 13, Fraction(25)
        video.metadata.update({"language": "eng", "timecode": "01:00:00:00", "handler_name": "camera"})
        out.metadata.update({"title": "a title", "Prompt": "old", "creation_time": "2020-01-02T03:04:05.000000Z"})
        second, half = {"time_base": Fraction(1, 1000)}, {"metadata": {"title": "half"}}
        out.set_chapters([second | half | {"id": i, "start": 1000 * i, "end": 1000 * (i + 1)} for i in range(2)])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = video
                out.mux(packet)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_tags_chapters_and_parameters_are_kept_and_the_workflow_is_new(tmp_path, name):
    write_clip(tmp_path / "source.mkv", Pictures("ffv1" if name == "a.mkv" else "mpeg4"))
    described(tmp_path / name, tmp_path / "source.mkv")
    report = resound(tmp_path / name, metadata={"prompt": "new"})
    with av.open(str(report.path)) as container, av.open(str(tmp_path / name)) as given:
        video, old = container.streams.video[0], given.streams.video[0]
        tags = {key.lower(): value for key, value in container.metadata.items()}
        own = {key.lower(): value for key, value in video.metadata.items()}
        assert video.sample_aspect_ratio == old.sample_aspect_ratio and video.codec_context.color_trc == old.codec_context.color_trc
        assert (video.sample_aspect_ratio, video.codec_context.color_trc) != (None, 2)
        assert (own["language"], own["timecode"]) == ("eng", "01:00:00:00")
        assert (tags["title"], tags["prompt"]) == ("a title", "new") and tags["creation_time"].startswith("2020-01-02T03:04:05")
        chapters = [(each["start"] * each["time_base"], each["metadata"]["title"]) for each in container.chapters()]
        assert chapters == [(0, "half"), (1, "half")] and not report.left_out


def test_subtitles_are_copied_and_other_videos_named(tmp_path):
    report = resound(make_odd_file("subtitles.mkv", tmp_path))
    with av.open(str(report.path)) as container:
        [line] = [packet for packet in container.demux(subtitles=0) if packet.size]
        assert bytes(line) == b"a line" and abs(line.pts * line.time_base - Fraction(1, 10)) < Fraction(1, 20)
    report = resound(make_odd_file("twovideos.mkv", tmp_path))
    assert report.warnings()[1:] == ["new.mkv: 1 other video track was not copied"]


def test_a_cover_image_is_kept_or_named(tmp_path):
    assert resound(make_odd_file("cover.mp4", tmp_path)).left_out == ("1 cover image was not copied",)
    with av.open(str(tmp_path / "cover.mp4")) as given, av.open(str(tmp_path / "a.mkv"), "w") as out:
        image = next(bytes(packet) for packet in given.demux(given.streams.video[1]) if packet.size)
        copy = out.add_stream_from_template(given.streams.video[0])
        out.add_attachment("front.jpg", "image/jpeg", image)
        out.add_attachment("font.ttf", "application/x-truetype-font", b"font")
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    report = resound(tmp_path / "a.mkv", clicked(2.0))
    with av.open(str(report.path)) as container:
        cover, font = container.streams.video[1], container.streams.attachments[0]
        assert cover.disposition & Disposition.attached_pic and cover.metadata["filename"] == "front.jpg"
        assert next(bytes(packet) for packet in container.demux(cover) if packet.size) == image
        assert (font.name, font.data) == ("font.ttf", b"font")
    assert look(report.path).click == pytest.approx(NEW_CLICK, abs=0.01) and report.warnings() == []


def test_a_cover_is_no_video(tmp_path):
    with pytest.raises(ValueError, match="cover.mp3 has no video .*cover.*; give a video file$"):
        resound(make_odd_file("cover.mp3", tmp_path))


def test_many_channels_are_mixed_and_said(tmp_path):
    write_clip(tmp_path / "a.mp4", Pictures(frames=25))
    report = resound(tmp_path / "a.mp4", clicked(1.0, channels=6))
    assert read_video(report.path).audio.shape[0] == 2
    assert report.warnings() == ["new.mp4: 6 audio channels were mixed to stereo"]


def test_what_a_codec_appends_is_cut_without_a_fade_or_a_word(tmp_path):
    write_clip(tmp_path / "a.mp4", Pictures(frames=5))
    end = NEW_RATE // 5
    report = resound(tmp_path / "a.mp4", torch.full((1, end + 2000), 0.5))
    assert (report.cut_samples, report.samples) == (0, end) and report.warnings() == []
    assert read_video(report.path).audio[0, end - 600 : end - 100].min() > 0.4
    faded = resound(tmp_path / "a.mp4", torch.full((1, 2 * end), 0.5))
    assert faded.cut_samples == end and read_video(faded.path).audio[0, end - 100 : end].min() < 0.1


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    source, (soft, hard) = make_odd_file("base.mp4", tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(OSError, match="^cannot write .*new.mp4: .*; free some space, or choose another folder$"):
            resound(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["base.mp4"]


def test_damaged_files_are_copied_as_far_as_they_go_or_refused(tmp_path):
    for name in ("cutmdat.mp4", "cut.ts"):
        report = resound(make_odd_file(name, tmp_path))
        assert 20 < report.packets < 50 and report.seconds == pytest.approx(report.packets / 25, abs=0.09)
    with pytest.raises(ValueError, match="nomoov.mp4 is damaged .*; encode or copy it again$"):
        resound(make_odd_file("nomoov.mp4", tmp_path))


def test_a_copy_that_cannot_be_opened_is_not_kept(tmp_path):
    source = make_odd_file("changes.ts", tmp_path)
    source.write_bytes(damaged(source.read_bytes(), random.Random("6 changes.ts 5")))
    with pytest.raises(ValueError, match="cannot be copied to .*; it may be damaged: encode it again$"):
        resound(source)
    assert list(tmp_path.iterdir()) == [source]


def test_reading_the_source_can_be_interrupted(tmp_path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan_copy(make_odd_file("base.mp4", tmp_path), interrupt)


def test_the_node_encodes_what_cannot_be_copied_and_says_so(tmp_path, folders):
    source = make_odd_file("base.gif", tmp_path)
    with pytest.raises(NotCopyableError, match="base.gif: gif is an image format, so it cannot be copied; convert it to mp4"):
        plan_copy(source)
    node = DuetReplaceSound.clone_for_run({"prompt": None, "extra_pnginfo": None})
    out = node.execute(VideoFromFile(source), {"waveform": clicked()[None], "sample_rate": NEW_RATE}, "clip", 96)
    assert "gif is an image format, so its frames were encoded" in out.ui["text"]
    assert check_new_audio(source, tmp_path / "out" / "clip_00001_.mp4", ODD_FILES["base.gif"].right, encoded=True) == []


def test_the_node_keeps_prores_in_mov(tmp_path, folders):
    source = make_odd_file("prores.mov", tmp_path)
    node = DuetReplaceSound.clone_for_run({"prompt": None, "extra_pnginfo": None})
    out = node.execute(VideoFromFile(source), {"waveform": clicked()[None], "sample_rate": NEW_RATE}, "clip", 96)
    assert out.ui["images"][0]["filename"] == "clip_00001_.mov"
    assert look(tmp_path / "out" / "clip_00001_.mov").digest == look(source).digest
