"""Reads the text of a model card, which may come from anyone, and checks the types and ranges of its fields."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, get_args

from .contract import Prediction
from .known_parts import KnownMode
from .printable import printable, quoted

LONGEST_CARD = 4 * 2**20  # characters
DEEPEST = 12  # tables within tables
LARGEST_SIZE = 2**24  # of a network: layers, widths, words, positions
LARGEST_CLIP = 2**30  # pixels of all frames of a clip
AGAIN = "download the file again"


class Rule(NamedTuple):
    """What a value must be: a test, and the words for it."""

    fits: Callable[[Any], bool]
    words: str


def whole(least: int, most: int) -> Rule:
    """Accept a whole number from `least` to `most`."""
    return Rule(
        lambda x: isinstance(x, int) and not isinstance(x, bool) and least <= x <= most, f"a whole number from {least} to {most}"
    )


def number(least: float, most: float) -> Rule:
    """Accept a number from `least` to `most`."""
    return Rule(lambda x: _is_number(x) and least <= x <= most, f"a number from {least:g} to {most:g}")


def one_of(*values: str) -> Rule:
    """Accept one of these texts."""
    return Rule(lambda x: isinstance(x, str) and x in values, " or ".join(values))


def several(rule: Rule, count: int | None = None) -> Rule:
    """Accept a list of `count` values, or of any number of them, that fit `rule`."""
    each = f"a list of {'' if count is None else f'{count} times '}{rule.words}"
    return Rule(lambda x: isinstance(x, list) and count in (None, len(x)) and all(map(rule.fits, x)), each)


def either(first: Rule, second: Rule) -> Rule:
    """Accept what fits one of two rules."""
    return Rule(lambda x: first.fits(x) or second.fits(x), f"{first.words}, or {second.words}")


def is_file_name(value: Any) -> bool:
    """Return whether a value is the name of a file without a folder, on every system."""
    if not isinstance(value, str) or value in ("", ".", "..") or len(value) > 255 or not value.isprintable() or ":" in value:
        return False
    return PurePosixPath(value).name == PureWindowsPath(value).name == value


LINE = Rule(lambda x: isinstance(x, str) and bool(x.strip()) and len(x.splitlines()) == 1, "one line of text")
TEXT = Rule(lambda x: isinstance(x, str), "text")
FLAG = Rule(lambda x: isinstance(x, bool), "true or false")
TABLE = Rule(lambda x: isinstance(x, dict), "a table")
WORD = Rule(lambda x: isinstance(x, str) and len(x) <= 100 and x.isprintable(), "words")
FILE = Rule(is_file_name, "the name of a file in the same folder")
SIZE = whole(1, 2**24)
PREDICTION = one_of(*get_args(Prediction))
NAMED_EXPERT = {"model": WORD, "hash": WORD, "source": WORD}
JOINT_CHECKPOINT = {"experts": {"video": NAMED_EXPERT, "audio": NAMED_EXPERT}, "audio_steps": whole(0, 2**24)}

ENCODER = {
    "vocabulary": several(WORD), "length": whole(1, 4096), "width": SIZE, "layers": whole(1, 1000), "heads": whole(1, 1024),
}  # fmt: skip
EXPERT: dict[str, Any] = {
    "config": TABLE, "text": ENCODER, "coordinates": FLAG, "time_stride": whole(1, 1000), "rope_scale": number(0, 1000),
    "prediction": either(PREDICTION, several(PREDICTION, 2)), "text_width": SIZE,
    "edm": {"mean": number(-100, 100), "std": number(1e-6, 100), "lowest": number(1e-9, 1e9), "highest": number(1e-9, 1e9)},
    "picture": {"channels": SIZE, "width": SIZE}, "motion_bucket": number(0, 1e6),
}  # fmt: skip
CARD: dict[str, Any] = EXPERT | {
    "name": LINE, "licence": LINE, "kind": TEXT, "architecture": TEXT, "note": TEXT, "trained": FLAG,
    "clip": {"frames": whole(1, 10**6), "height": whole(1, 2**15), "width": whole(1, 2**15), "fps": number(0.01, 1000)},
    "codecs": {"video": FILE, "audio": FILE}, "video": EXPERT, "audio": EXPERT, "joint_blocks": whole(0, 1000),
    "attention": TEXT, "given": one_of(*get_args(KnownMode)), "data": TABLE, "run": TABLE, "sampling": TABLE,
    "joint": {
        "inputs": several(whole(0, 1000), 2), "joint_blocks": whole(0, 1000), "audio_rate": number(0, 1e6), "qk_width": SIZE,
        "v_width": SIZE, "heads": whole(1, 1024), "attention": TEXT,
    },
    "step": whole(0, 2**53), "seconds": number(0, 1e12), "logged": several(TEXT),
}  # fmt: skip
"""What the fields of a card must be, by kind of file or not. Other fields are free."""


def parse_card(text: str, path: Path, subject: str, remedy: str) -> dict[str, Any]:
    """Return the fields of a model card. Raises ValueError, in one line, unless they are what `CARD` says.

    path, subject, remedy: as in `parse_table`.
    """
    card = parse_table(text, path, subject, remedy)
    check_fields(card, CARD, path)
    for part in ("video", "audio"):
        check_config(card.get(part, {}).get("config", {}), path, f"{part}.config")
    check_config(card.get("config", {}), path, "config")
    clip = card.get("clip", {})
    if math.prod(clip.get(name, 1) for name in ("frames", "height", "width")) > LARGEST_CLIP:
        raise ValueError(f"{path}: field clip is {quoted(clip)}, which no memory can hold; {AGAIN}")
    return card


def parse_table(text: str, path: Path, subject: str, remedy: str) -> dict[str, Any]:
    """Parse JSON of a stranger. Raises ValueError, in one line, unless it is a table of plain, moderate values.

    path: the file that errors name. subject: what the text is called after it. remedy: what to do about it.
    """
    where = f"{path} {subject}".strip()
    if len(text) > LONGEST_CARD:
        raise ValueError(f"{where} is longer than {LONGEST_CARD / 1e6:.0f} MB; {remedy}")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON ({printable(error)}); {remedy}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {quoted(table)}; {remedy}")
    try:
        endless = next((name for name, value in all_values(table) if isinstance(value, float) and not math.isfinite(value)), None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {remedy}") from error
    if endless is not None:
        raise ValueError(f"{path}: field {printable(endless)} is not a finite number; {remedy}")
    return table


def read_table(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file of a stranger. Raises FileNotFoundError or ValueError, as `parse_table`."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_CARD + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    try:
        return parse_table(content.decode("utf-8-sig"), path, "", remedy)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8; {remedy}") from error


def require(card: Mapping[str, Any], path: str | Path, *names: str) -> None:
    """Raise ValueError unless the card has all fields `names`, such as "clip.fps"."""
    for name in names:
        value: Any = card
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise ValueError(f"{path}: its model card has no field {name}; {AGAIN}")
            value = value[part]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_config(config: Mapping[str, Any], path: str | Path, where: str = "") -> None:
    """Raise ValueError, which names the file `path`, for a number that no network can have among its sizes."""
    for name, value in all_values(config, where):
        if isinstance(value, (int, float)) and abs(value) > LARGEST_SIZE:
            raise ValueError(f"{path}: field {printable(name)} is {quoted(value)}; use a number up to {LARGEST_SIZE}")


def all_values(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Iterate over the values in a table, and in those inside it, with names such as "video.config.num_layers".

    Raises ValueError for tables that are nested too deep.
    """
    if depth > DEEPEST:
        raise ValueError(f"field {printable(name)} is nested too deep")
    yield name, value
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from all_values(each, f"{name}.{inner}" if name else inner, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from all_values(each, name, depth + 1)


def check_fields(card: Mapping[str, Any], rules: Mapping[str, Any], path: str | Path, where: str = "") -> None:
    """Raise ValueError, which names the file `path`, unless the fields that a table has fit their rules.

    where: what stands before the names of its fields, such as "clip.".
    """
    for name in rules.keys() & card.keys():
        rule, value = rules[name], card[name]
        table = isinstance(rule, dict)
        fits, words = TABLE if table else rule
        if not fits(value):
            raise ValueError(f"{path}: field {where}{name} is {quoted(value)}; use {words}")
        if table:
            check_fields(value, rule, path, f"{where}{name}.")
