"""The fields of a training config: their types and ranges. An error names the file, the field, its value and what to give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

from ..printable import printable, quoted

LARGEST, DEEPEST, MOST_ENTRIES = 65_536, 5, 1000  # of a network's settings: whole numbers, nesting, entries of a table or list
SEEDS = 2**63 - 1
LONGEST_NAME, LONGEST_PATH = 200, 1000  # of files: bytes of a name, characters of a path


class Field(Protocol):
    """What a field accepts."""

    def check(self, value: Any, where: str) -> None:
        """Raise ValueError, in one line that starts with `where`, unless `value` is accepted."""
        ...


@dataclass(frozen=True)
class Number:
    """A finite number, or with `whole` an integer, from `low` to `high`. above: `low` itself is not accepted."""

    low: float = 0.0
    high: float = 1e6
    whole: bool = False
    above: bool = False
    multiple: int = 1

    def check(self, value: Any, where: str) -> None:
        is_number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if not is_number or not self._fits(value):
            raise ValueError(f"{where} is {quoted(value)}; give {self}")

    def _fits(self, value: float) -> bool:
        above = value > self.low if self.above else value >= self.low
        return above and value <= self.high and (self.multiple == 1 or value % self.multiple == 0)

    def __str__(self) -> str:
        kind = f"multiple of {self.multiple}" if self.multiple > 1 else "whole number" if self.whole else "number"
        return f"a {kind} {'above' if self.above else 'from'} {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Text:
    """A text that is not empty; or one of `choices`."""

    choices: tuple[str, ...] = ()

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str) or not value.strip() or "\0" in value or (self.choices and value not in self.choices):
            what = f"one of {', '.join(self.choices)}" if self.choices else "text in quotes"
            raise ValueError(f"{where} is {quoted(value)}; give {what}")


@dataclass(frozen=True)
class FilePath:
    """A path of a file or folder, relative to that of the config. named: it ends with a name, because it is written."""

    named: bool = False

    def check(self, value: Any, where: str) -> None:
        Text().check(value, where)
        if any(len(part.encode()) > LONGEST_NAME for part in value.split("/")) or len(value) > LONGEST_PATH:
            raise ValueError(f"{where} is {quoted(value)}, which is too long for a path; give a shorter one")
        if self.named and PurePath(value).name in ("", "..", "."):
            raise ValueError(f"{where} is {quoted(value)}; give a path that ends with a name")


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, bool):
            raise ValueError(f"{where} is {quoted(value)}; give true or false")


@dataclass(frozen=True)
class Items:
    """A list of `count` values."""

    each: Field
    count: int

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != self.count:
            raise ValueError(f"{where} is {quoted(value)}; give a list of {self.count}")
        for number, item in enumerate(value):
            self.each.check(item, f"{where}[{number}]")


@dataclass(frozen=True)
class Table:
    """A table with these fields; names with a `?` at the end may be left out."""

    fields: Mapping[str, Field]

    def check(self, value: Any, where: str) -> None:
        known = {name.removesuffix("?"): field for name, field in self.fields.items()}
        check_table(value, where, known)
        for name, field in known.items():
            if name in value:
                field.check(value[name], _inside(where, name))
            elif f"{name}?" not in self.fields:
                raise ValueError(f"{_inside(where, name)} is missing; add it (see docs/library.md, Train)")


@dataclass(frozen=True)
class Network:
    """A table of a network's settings. Which ones there are, the network says when it is built."""

    def check(self, value: Any, where: str) -> None:
        check_table(value, where)
        for name, each in value.items():
            _check_setting(each, f"{where}.{printable(name)}", DEEPEST)


@dataclass(frozen=True)
class Anything:
    """A value that is checked elsewhere."""

    def check(self, value: Any, where: str) -> None:
        pass


def check_table(value: Any, where: str, known: Iterable[str] | None = None) -> None:
    """Raise ValueError unless `value` is a table, with no other names than `known` if given."""
    names = None if known is None else list(known)
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {quoted(value)}; give a table{f' with {_listed(names)}' if names else ''}")
    for name in value:
        if names is not None and name not in names:
            raise ValueError(f"{where} has no {printable(name)}; it has {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _inside(where: str, name: str) -> str:
    return f"{where}{name}" if where.endswith(" ") else f"{where}.{name}"


def _check_setting(value: Any, where: str, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth == 0 or len(value) > MOST_ENTRIES:
            raise ValueError(f"{where} is nested too deeply or has too many entries; see the shipped configs")
        for each in value.values() if isinstance(value, dict) else value:
            _check_setting(each, where, depth - 1)
    elif isinstance(value, bool | str):
        return
    elif not isinstance(value, int | float) or not abs(value) <= LARGEST or math.isnan(value):
        raise ValueError(f"{where} is {quoted(value)}; give text, true, false, or a number up to {LARGEST}")


COUNT = Number(1, 1_000_000, whole=True)
ROWS = Number(0, 100_000, whole=True)
BATCH = Number(1, 100_000, whole=True)
SEED = Number(0, SEEDS, whole=True)
SHARE = Number(0, 1)
WEIGHT = Number(0, 1e6)
PIXELS = Number(8, 16_384, whole=True, multiple=8)
CLIP = Table(
    {"frames": COUNT, "height": Number(1, 16_384, True), "width": Number(1, 16_384, True), "fps": Number(0, 1000, above=True)}
)
SCHEDULE: dict[str, Field] = {
    "steps": Number(1, 1_000_000_000, whole=True), "lr": Number(0, 1e6, above=True),
    "warmup?": Number(0, 1_000_000_000, whole=True), "floor?": SHARE, "weight_decay?": WEIGHT,
    "clip?": Number(0, 1e9, above=True), "ema?": SHARE, "muon?": Flag(), "bf16?": Flag(), "batched_muon?": Flag(),
    "cuda_graph?": Flag(),
}  # fmt: skip
DATA = Table({
    "cache": FilePath(), "folder?": FilePath(), "list?": FilePath(), "clips?": COUNT, "size?": PIXELS, "seed?": SEED,
    "video_codec?": FilePath(), "audio_codec?": FilePath(), "sound?": Text(("tight", "delayed", "absent")),
    "captions?": FilePath(),
})  # fmt: skip
OPTIONS = Table({f"{name}?": FilePath() for name in ("text_encoder", "tokenizer", "vae", "low_noise")})
"""The files of the other parts of a published expert."""
FILES = ("start", "video_expert", "audio_expert", "video_codec", "audio_codec", "model")
CONFIG: dict[str, Field] = {
    "stage": Text(), "run": FilePath(named=True), "out": FilePath(named=True), "seed": SEED, "schedule": Table(SCHEDULE),
    "stage_config": Network(), "data?": DATA, **{f"{name}?": FilePath() for name in FILES},
    "video_options?": OPTIONS, "audio_options?": OPTIONS,
}  # fmt: skip
"""The fields of a config. Those of `stage_config` depend on the stage."""
