"""The table of odd files: a few of its rows without ComfyUI, and what makes a cell fail."""

import subprocess
import sys

import pytest

from duet_av.benchmarks.file_cells import FAIL, LINE, LOAD, NEW_AUDIO, OK, check_saved, judge
from duet_av.benchmarks.odd_files import ODD_FILES, make_odd_file

NAMES = ["base.mp4", "rot180.mp4", "subtitles.mkv", "audioonly.m4a", "empty.mp4"]


def test_the_command_makes_a_page_without_a_fault(tmp_path):
    page = tmp_path / "files.md"
    command = [sys.executable, "-m", "duet_av.benchmarks.files", *NAMES, "--output", str(page)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr + page.read_text(encoding="utf-8")
    assert ended.stderr.splitlines()[-1] == "5 files, 20 cells, 0 fail"
    rows = {line.split(" | ")[0].strip("| "): line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"}
    for name in NAMES[:3]:
        assert rows[name].endswith("| ok | ok | ok | ok |")
    for name in NAMES[3:]:
        assert rows[name].endswith("| line | line | line | line |")


@pytest.mark.parametrize("name, wrong, line, state", [
    ("base.mp4", [], "", OK), ("base.mp4", ["49 pictures, not 50"], "", FAIL), ("base.mp4", None, "x is bad; give another", FAIL),
    ("empty.mp4", None, "x is damaged; copy it again", LINE), ("empty.mp4", None, "x is damaged", FAIL),
    ("empty.mp4", [], "", FAIL),
    ("empty.mp4", None, "x is\ndamaged; copy it again", FAIL), ("cut.mkv", ["31 pictures, not 50"], "", OK),
])  # fmt: skip
def test_a_cell_is_judged_by_what_is_right(name, wrong, line, state):
    assert judge(ODD_FILES[name].right, LOAD, wrong, line).state == state


def test_a_refusal_is_right_for_one_operation_alone():
    right, line = ODD_FILES["base.gif"].right, "mkv does not support gif video; give another file"
    assert judge(right, NEW_AUDIO, None, line).state == LINE and judge(right, LOAD, None, line).state == FAIL


def test_a_file_that_shows_something_else_is_found(tmp_path):
    path = make_odd_file("rot90.mp4", tmp_path)
    assert check_saved(path, ODD_FILES["rot90.mp4"].right) == []
    assert check_saved(path, ODD_FILES["trimmed.mp4"].right) == ["picture 0 first, not 33", "click at 1.000 s, not 0.680 s"]
