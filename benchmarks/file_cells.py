"""What a cell of the table of files says, and the checks behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from .make_clip import Sound, write_clip
from .odd_files import Right
from .shown import RATE, Shown, differences, look

OPERATIONS = ("score", "load", "encode → mux", "new audio")
SCORE, LOAD, MUX, NEW_AUDIO = OPERATIONS
OK, LINE, CORE, FAIL = "ok", "line", "core", "**FAIL**"
NEW_CLICK, NEW_SECONDS, NEW_RATE = 0.1, 5.0, 48_000  # of the audio that replaces a file's own
LONGEST_LINE = 1000
END_SLACK = 0.08  # seconds: a picture of 25 fps and a frame of AAC


@dataclass(frozen=True)
class Cell:
    """state: OK, LINE for one clear line, CORE for what ComfyUI's own nodes say, or FAIL. text: the line, or what is wrong."""

    state: str
    text: str = ""


def judge(right: Right, operation: str, wrong: list[str] | None, line: str = "") -> Cell:
    """Returns the cell of an operation that ended with `line`, or with a result that differs in `wrong` from what is right."""
    if wrong is None:
        expected = right.line or right.refused.get(operation, "")
        if fault := fault_of_line(line):
            return Cell(FAIL, f"{fault}: {line}")
        return Cell(LINE, line) if expected and re.search(expected, line, re.IGNORECASE) else Cell(FAIL, f"is refused: {line}")
    if right.either:
        return Cell(OK)
    if right.line:
        return Cell(FAIL, "gives a clip, not a line")
    return Cell(FAIL, "; ".join(wrong)) if wrong else Cell(OK)


def fault_of_line(line: str) -> str:
    """Returns why `line` is not one clear line with a remedy; empty if it is."""
    if "\n" in line or not line.isprintable():
        return "not one printable line"
    if len(line) > LONGEST_LINE:
        return f"{len(line)} characters"
    return "" if "; " in line or ": use " in line else "no remedy"


def is_ours(error: Exception) -> bool:
    """Whether an error is one that Duet raises for users: not one of PyAV's or of a parser's."""
    plain = isinstance(error, (ValueError, OSError)) and not isinstance(error, UnicodeError)
    return plain and not type(error).__module__.startswith(("av", "json", "safetensors"))


def check_score(facts: Mapping[str, Any], right: Right) -> list[str]:
    """Compares the facts of a score with what is right. The click is one of the sounds that were heard."""
    size = (facts["width"], facts["height"])
    found = [
        (facts["frames"] != right.frames, f"{facts['frames']} pictures, not {right.frames}"),
        (size != right.size, f"size {size}, not {right.size}"),
        (abs(facts["fps"] / right.fps - 1) > RATE, f"{facts['fps']:.2f} fps, not {right.fps}"),
        ((facts["sound"] is None) != (right.click is None), "audio is missing" if facts["sound"] is None else "audio from nowhere"),
        (facts["broken_frames"] > 0, f"{facts['broken_frames']} broken pictures"),
    ]
    if facts["sound"] and right.click is not None and right.frames > 1:
        heard = facts["sync"]["heard"] or []
        near = min((abs(each - right.click) for each in heard), default=9)
        found.append((near > right.slack + 0.03, f"heard at {heard}, not {right.click:.3f}"))
    return [text for wrong, text in found if wrong]


def check_saved(path: Path, right: Right) -> list[str]:
    """Compares a file that `Save Video + Audio` wrote with what is right: even sizes, and at most 2 channels."""
    width, height = right.size
    even = (width + width % 2, height + height % 2)
    slack = right.slack + 0.5 / right.fps if right.fps != 25 else right.slack
    return differences(look(path), replace(right, size=even, channels=min(right.channels, 2), slack=slack))


def check_new_audio(source: Path, path: Path, right: Right, encoded: bool) -> list[str]:
    """Compares a file that has new audio with its source: the same packets, unless they were encoded, and the audio's times."""
    if right.either:
        return []  # the copied pictures are as damaged as the source
    shown = look(path)
    length = right.frames / right.fps
    width, height = right.size
    size = (width + width % 2, height + height % 2) if encoded else right.size
    click = min(NEW_CLICK, length) if length > NEW_CLICK else None
    wrong = differences(shown, replace(right, size=size, channels=1, click=click or shown.click, slack=0.03))
    if shown.end is not None and abs(shown.end - length) > END_SLACK:
        wrong.append(f"audio ends at {shown.end:.3f} s, not {length:.3f} s")
    if not encoded:
        wrong += _differences_of_copy(source, path, look(source), shown)
    return wrong


def write_new_audio(path: Path) -> None:
    """Writes the audio that replaces a file's own."""
    write_clip(path, Sound("pcm_s16le", NEW_RATE, "mono", NEW_SECONDS, NEW_CLICK))


def _differences_of_copy(source: Path, path: Path, before: Shown, after: Shown) -> list[str]:
    wrong = [] if before.digest == after.digest else ["pictures differ"]
    if source.suffix == path.suffix and before.tag != after.tag:
        wrong.append(f"tag {after.tag}, not {before.tag}")
    if _alpha_mode(source) != _alpha_mode(path):
        wrong.append("transparency is lost")
    return wrong


def _alpha_mode(path: Path) -> str | None:
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.streams.best("video").metadata.items()}.get("alpha_mode")
