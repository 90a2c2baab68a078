"""The odd files show what their makers say, read with PyAV alone."""

import pytest

from duet_av.benchmarks.odd_files import ODD_FILES, make_odd_file
from duet_av.benchmarks.shown import differences, look

SHOWN = [
    "base.mp4", "base.mkv", "vp8.webm", "base.3gp", "latevideo.webm", "lateaudio.ts", "trimmed.mp4", "trimend.mp4", "plain.avi",
    "phone.mp4", "prores4444.mov", "rot90.mp4", "rot180.mp4", "rot270.mov", "coverfirst.mp4", "surround7.mp4", "ch24.mov",
    "changes.ts", "noaudio.mkv",
]  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_shows_what_its_maker_says(tmp_path, name):
    path = make_odd_file(name, tmp_path)
    assert differences(look(path), ODD_FILES[name].right) == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_the_same_each_time(tmp_path):
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        made.append(make_odd_file("trimmed.mp4", folder).read_bytes())
    assert made[0] == made[1]
