import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from duet_av.av_models import atomic
from duet_av.av_models.atomic import NumberedPath, publish, temporary_file
from duet_av.av_models.media import target_path, write_video

FRAMES = torch.zeros(2, 64, 64, 3)
IN_A_PROCESS = """
import os, runpy, sys
from pathlib import Path
globals().update(runpy.run_path(sys.argv[1]))
folder = Path(sys.argv[2])
"""
posix_only = pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX only")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save(folder, text, prefix="clip"):
    path = target_path(folder, prefix, "mp4")
    with temporary_file(path) as part:
        part.write_text(text)
        return publish(part, path)


def test_two_savers_at_once_take_two_numbers(tmp_path):
    both = threading.Barrier(2)

    def write(shade):
        path = target_path(tmp_path, "clip", "mp4")
        both.wait()
        return write_video(FRAMES + shade, path, fps=8).path

    with ThreadPoolExecutor(2) as pool:
        written = set(pool.map(write, (0, 1)))
    assert written == {tmp_path / "clip_00001_.mp4", tmp_path / "clip_00002_.mp4"}
    assert names(tmp_path) == ["clip_00001_.mp4", "clip_00002_.mp4"]


@pytest.mark.parametrize("has_links", [True, False])
def test_many_savers_lose_nothing(tmp_path, monkeypatch, has_links):
    def no_link(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda i: save(tmp_path, f"{i}"), range(40)))
    assert sorted(path.read_text() for path in written) == sorted(f"{i}" for i in range(40))
    assert names(tmp_path) == [f"clip_{i:05}_.mp4" for i in range(1, 41)]


def process(folder, code):
    """Start a process with `atomic`, which imports nothing else of Duet, so that it is there at once."""
    return subprocess.Popen([sys.executable, "-c", IN_A_PROCESS + code, atomic.__file__, folder])


def test_savers_in_two_processes_lose_nothing(tmp_path):
    code = """
for i in range(20):
    path = NumberedPath(folder / "clip_00001_.mp4")
    with temporary_file(path) as part:
        part.write_text(f"{os.getpid()} {i}")
        publish(part, path)
"""
    savers = [process(tmp_path, code) for _ in range(2)]
    assert [saver.wait() for saver in savers] == [0, 0]
    assert len({path.read_text() for path in tmp_path.iterdir()}) == len(names(tmp_path)) == 40


def test_a_number_that_is_taken_meanwhile_is_raised_and_other_files_are_replaced(tmp_path):
    path = target_path(tmp_path, "clip_7_", "mp4")
    assert isinstance(path, NumberedPath)
    path.write_text("core's")
    (tmp_path / "clip_7__00002_.mp4").symlink_to("nowhere")
    report = write_video(FRAMES, path, fps=8)
    assert report.path.name == "clip_7__00003_.mp4" and report.summary().startswith("clip_7__00003_.mp4: 2 frames")
    assert path.read_text() == "core's"
    assert write_video(FRAMES, Path(path), fps=8).path == path and path.stat().st_size > 100


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("é" * 125 + "x.mp4")
    assert len(path.name.encode()) == 255
    write_video(FRAMES, path, fps=8)
    assert names(tmp_path) == [path.name]
    with pytest.raises(OSError, match="too long; choose a shorter name") as caught:
        write_video(FRAMES, tmp_path / ("é" * 126 + ".mp4"), fps=8)
    assert "\n" not in str(caught.value) and names(tmp_path) == [path.name]


@posix_only
def test_what_a_killed_writer_left_is_deleted_at_the_next_save(tmp_path):
    code = "with temporary_file(folder / 'a.mp4'): os.kill(os.getpid(), 9)"
    assert process(tmp_path, code).wait() == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    (tmp_path / "mine.part").touch()
    save(tmp_path, "new")
    assert names(tmp_path) == ["clip_00001_.mp4", "mine.part"]


def test_the_file_of_a_live_writer_stays(tmp_path):
    with temporary_file(tmp_path / "a.mp4") as part:
        part.write_text("half")
        save(tmp_path, "other")
        assert part.read_text() == "half"
    assert names(tmp_path) == ["clip_00001_.mp4"]


@posix_only
def test_a_file_that_another_writer_takes_for_an_orphan_is_created_again(tmp_path, monkeypatch):
    steps = iter([lambda: [part.unlink() for part in tmp_path.glob("*.part")], lambda: None])
    monkeypatch.setattr(atomic.fcntl, "flock", lambda file, operation: next(steps)())
    with temporary_file(tmp_path / "a.mp4") as part:
        assert part.exists()


@pytest.mark.parametrize(("prefix", "name"), [
    ("take:2", "take_2"), ('<a>:"b"|c?*', "_a___b__c__"), ("end. . ", "end____"), ("CON", "CON_"), ("nul.mp4", "nul_.mp4"),
    ("video/C:x", "video/C_x"), ("COM1/a", "COM1_/a"), ("lpt9 .x/LPT10", "lpt9_ .x/LPT10"), ("console", "console"),
    ("...", "___"), (".hidden", ".hidden"), ("\ud800", "_"),
])  # fmt: skip
def test_names_that_one_system_refuses_are_made_usable_on_every_system(tmp_path, prefix, name):
    assert target_path(tmp_path, prefix, "mp4") == tmp_path / f"{name}_00001_.mp4"


@pytest.mark.parametrize("prefix", [
    "C:\\x", "C:/x", "\\\\host\\share\\x", "a/" * 3000 + "x", "/".join(["z" * 190] * 30), "loop/x",
])  # fmt: skip
def test_names_that_no_system_takes_are_one_line(tmp_path, prefix):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match="; (choose another name|give a name|use fewer)") as caught:
        target_path(tmp_path, prefix, "mp4")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
