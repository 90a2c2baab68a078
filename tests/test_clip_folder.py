"""A folder of sounding videos with captions."""

import json
import re

import pytest
import torch

from duet_av.av_models.media.fit import fit_frames, fit_waveform
from duet_av.av_models.media.read import read_video
from duet_av.av_models.shapes import AVShape
from duet_av.av_models.training.clip_folder import SKIPPED, list_clips, read_clips, summarize, write_skipped
from duet_av.tests.sounding import write_clip

SHAPE = AVShape.of_frames(8, 24, 32, 16, 8000)


def files(folder, *names):
    """Files that are listed, but never opened."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def captions(found):
    return {each.name: (each.video_caption, each.audio_caption) for each in found.files}


def reasons(found):
    return {each.name: each.reason for each in found.skipped}


def test_captions_lie_beside_the_videos(tmp_path):
    files(tmp_path, "b.mkv", "in/a.MOV", "c.webm", "two.mp4", "empty.mp4", "text.md", "long.avi", "cut.ts")
    for name, text in {"b": "a ball\n", "in/a": "\ufeffred\n\n metal \n", "lost": "x", "empty": "x", "long": "a\nb\nc"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "cut.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "empty.mp4").write_bytes(b"")
    found = list_clips(tmp_path)
    assert captions(found) == {"b.mkv": ("a ball", "a ball"), "in/a.MOV": ("red", "metal")}
    assert reasons(found).keys() == {"c.webm", "two.mp4", "empty.mp4", "lost.txt", "long.avi", "cut.ts"}
    assert reasons(found)["lost.txt"] == "is a caption without a video" and reasons(found)["c.webm"] == "has no caption"
    assert reasons(found)["empty.mp4"] == "is empty" and reasons(found)["long.avi"].startswith("has a caption with 3 lines")
    assert reasons(found)["cut.ts"].startswith("has a caption that cannot be read (")


def test_captions_are_not_needed_if_there_shall_be_none(tmp_path):
    assert captions(list_clips(files(tmp_path, "b.mp4", "a.mp4"), "none")) == {"a.mp4": ("", ""), "b.mp4": ("", "")}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_of_captions(tmp_path, kind):
    files(tmp_path, "a.mp4", "in/b.xyz", "c.mp4", "d.mp4")
    rows = [
        {"file": "a.mp4", "caption": "a ball, red"},
        {"file": "./in/b.xyz", "video_caption": "red", "audio_caption": "metal"},
        {"file": "c.mp4", "caption": " "},
        {"file": "gone.mp4", "caption": "x"},
        {"file": "a.mp4", "caption": "again"},
        {"file": "", "caption": "x"},
    ]
    path = tmp_path / f"captions.{kind}"
    if kind == "csv":
        names = ("file", "caption", "video_caption", "audio_caption")
        lines = [",".join(names), *(",".join(f'"{row.get(name, "")}"' for name in names) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    else:
        path.write_text("\n".join([*map(json.dumps, rows), "[1]", "{"]))
    found = list_clips(tmp_path, path)
    assert captions(found) == {"a.mp4": ("a ball, red",) * 2, "in/b.xyz": ("red", "metal")}
    wanted = {"c.mp4": "has no caption", "d.mp4": "has no caption", "gone.mp4": "is a caption without a video"}
    assert wanted | {"a.mp4": "is listed twice"} == {n: r for n, r in reasons(found).items() if not n.startswith("captions")}
    rows_without = {name for name, reason in reasons(found).items() if reason == "names no file"}
    assert rows_without == ({"captions.csv line 7"} if kind == "csv" else {f"captions.jsonl line {n}" for n in (6, 7, 8)})


@pytest.mark.parametrize("name, content, said", [
    ("c.csv", "file,text\na.mp4,x\n", "has the columns 'file, text'; give file, and caption or video_caption and audio_caption"),
    ("c.csv", "", "has the columns ''; give file"),
    ("c.csv", b"\xff\xfe\xfd", "is not text in UTF-8; save it as UTF-8"),
    ("c.json", "{}", "; give beside, none, or a .csv or .jsonl file"),
    ("c.csv", None, "there is no list of captions"),
    ("c.csv", "file,caption\nb.mp4,x\n", "has no video to train on (skipped 2: 1 × has no caption, 1 × is a caption without"),
])  # fmt: skip
def test_a_list_that_cannot_be_used_is_one_line(tmp_path, name, content, said):
    files(tmp_path, "a.mp4")
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        list_clips(tmp_path, tmp_path / name)
    assert said in str(error.value) and "\n" not in str(error.value) and "; " in str(error.value)


def test_a_folder_without_captions_or_videos_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere; use a folder with videos"):
        list_clips(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no video to train on; give each video a NAME.txt"):
        list_clips(tmp_path)
    with pytest.raises(ValueError, match=re.escape("(skipped 1: 1 × has no caption; the first is a.mp4: has no caption); give")):
        list_clips(files(tmp_path, "a.mp4"))


def test_what_was_skipped_is_listed_in_the_runs_folder(tmp_path):
    (tmp_path / "v").mkdir()
    files(tmp_path / "v", "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "v" / "a.txt").write_text("x")
    skipped = list_clips(tmp_path / "v").skipped
    write_skipped(tmp_path / "run", skipped)
    assert (tmp_path / "run" / SKIPPED).read_text() == "b.mp4: has no caption\nc.mp4: has no caption\n"
    assert summarize(skipped) == "skipped 2: 2 × has no caption" and summarize([]) == ""
    write_skipped(tmp_path / "run", [])
    assert not (tmp_path / "run" / SKIPPED).exists()


@pytest.mark.parametrize("seconds, fps, clips", [(1.6, 16, 3), (1.5, 30, 3), (1.03, 7, 2)])
def test_clips_are_those_of_the_whole_video(tmp_path, seconds, fps, clips):
    """Read frame by frame, with one clip in memory."""
    whole = read_video(write_clip(tmp_path / "a.mp4", seconds, fps=fps))
    found = list(read_clips(tmp_path / "a.mp4", SHAPE))
    assert len(found) == clips
    for number, (frames, wave) in enumerate(found):
        first, last = (round(edge / 2 * whole.fps) for edge in (number, number + 1))
        begin, end = (round(edge / 2 * whole.sample_rate) for edge in (number, number + 1))
        assert torch.equal(frames, fit_frames(whole.frames[first:last], whole.fps, SHAPE.video))
        assert torch.equal(wave, fit_waveform(whole.audio[:, begin:end], whole.sample_rate, SHAPE.audio))


def test_a_video_that_cannot_be_used_says_why(tmp_path):
    write_clip(tmp_path / "silent.mp4", sound=False)
    write_clip(tmp_path / "short.mp4", 0.25)
    write_clip(tmp_path / "slow.mp4", 3, fps=1)
    whole = write_clip(tmp_path / "whole.mp4", 2)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-2000])
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 100)
    said = {
        "silent": "^has no audio$", "short": r"^is shorter than a clip \(0.25 s of 0.5 s\)$", "slow": "^has 1 frames per",
        "cut": "is damaged", "noise": "is damaged or is not a readable video",
    }  # fmt: skip
    for name, line in said.items():
        with pytest.raises(ValueError, match=line):
            list(read_clips(tmp_path / f"{name}.mp4", SHAPE))
