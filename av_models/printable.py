"""Makes text of a file safe to print: no control characters, no escape sequences, no line breaks, and not too long."""

from __future__ import annotations

import re
import reprlib
import unicodedata

LONGEST = 200
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS and other strings
    r"|\x1b[ -/]*[0-~]?"
)  # terminal escape sequences (ECMA-48)
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format (bidi), surrogates, private, unassigned, breaks
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, 80, 80
_JOINERS = "\u200c\u200d"  # format characters that scripts and emoji need


def printable(text: object, longest: int = LONGEST) -> str:
    """Return `text` as one line of at most `longest` characters, with spaces for escape sequences and control characters."""
    whole = str(text)
    start = whole[: 8 * longest]
    line = " ".join("".join(map(_printable_character, _ESCAPE.sub(" ", start))).split())
    return line if len(line) <= longest and start == whole else line[: longest - 1] + "…"


def quoted(value: object, longest: int = 80) -> str:
    """Return the `repr` of a value from a file, such as a field of JSON, as `printable`; of large values only the start."""
    return printable(_SHORT.repr(value), longest)


def _printable_character(character: str) -> str:
    return " " if unicodedata.category(character) in _UNSAFE and character not in _JOINERS else character
