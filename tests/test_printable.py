"""Text of a file is printed as one harmless line."""

import unicodedata

import pytest

from duet_av.av_models.printable import LONGEST, printable, quoted


def test_ordinary_text_stays_as_it_is():
    for text in ("Bounce", "CC BY 4.0 (see LICENSE)", "模型 é ñ 日本", "a\u0301", "👩\u200d🚀", "C:\\models\\x", ""):
        assert printable(text) == text


@pytest.mark.parametrize(
    "text, line",
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "a b"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "a link"),
        ("a\x9b2Jb", "a b"),
        ("one\r\ntwo\u2028three\x85four", "one two three four"),
        ("abc\u202egnp.exe", "abc gnp.exe"),
        ("\x00\x07\x08", ""),
        ("bad \ud800 half", "bad half"),
        ("\ufeffname", "name"),
    ],
)
def test_control_characters_are_spaces(text, line):
    assert printable(text) == line


def test_long_text_is_cut():
    assert len(printable("a" * 10**6)) == LONGEST and printable("a" * 10**6).endswith("…")
    assert printable("a" * LONGEST) == "a" * LONGEST
    assert printable("\x1b" * 10**6).endswith("…")
    assert printable("abcdef", 4) == "abc…"


def test_every_character_gives_printable_text():
    everything = "".join(map(chr, range(0x3000)))
    text = "".join(printable(everything[i : i + 16]) for i in range(0, len(everything), 16))
    assert text.isprintable() or {unicodedata.category(c) for c in text if not c.isprintable()} <= {"Cf", "Zs"}


def test_any_value_is_printed():
    assert printable({"a": 1}) == "{'a': 1}" and printable(None) == "None"


def test_values_of_a_file_are_shown_by_their_start():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert quoted("a\x1b[2J") == "'a\\x1b[2J'" and quoted(None) == "None" and quoted([1, "b"]) == "[1, 'b']"
    assert len(quoted(nested)) < 80 and len(quoted(list(range(10**6)))) < 80 and len(quoted({"a" * 10**6: 1})) <= 80
