"""Choose the next free file name in an output folder, never outside it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from ..atomic import NumberedPath
from .settings import CONTAINERS

MAX_BYTES = 200  # of a file or folder name; file systems take 255, and a number and an ending follow
MAX_FOLDERS = 100
_UNUSABLE = re.compile(r'[\x01-\x1f\x7f<>:"|?*]|[. ]+$')  # in names, on any system
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])(?= *(?:\.|$))", re.IGNORECASE)  # by Windows


def expand_prefix(prefix: str, dimensions: Callable[[], tuple[int, int]]) -> str:
    """Replace %width% and %height% in a file name, and %year%, %month%, %day%, %hour%, %minute% and %second% by the local time.

    dimensions: returns width and height of the video in pixels.
    """
    if "%" not in prefix:
        return prefix
    (width, height), now = dimensions(), time.localtime()
    values = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    times = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    for name, value in (values | {name: f"{number:02}" for name, number in times.items()}).items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix


def target_path(output_dir: str | Path, prefix: str, extension: str) -> Path:
    """Return `output_dir/[subfolders/]name_00001_.ext`, with the first number above all existing ones.

    The file takes a higher number if another file has this one when it is written, so two writers never replace each other's.

    prefix: `name` or `subfolders/name`; both `/` and `\\` separate folders.
    extension: one of `CONTAINERS`.
    What file systems refuse in names becomes `_`, and long names are cut. Nothing is created. Raises ValueError when `prefix`
    is empty or absolute, contains `..`, passes through a link that leaves `output_dir`, or makes a path that is too long.
    """
    if extension not in CONTAINERS:
        raise ValueError(f"file extension is {extension!r}; choose one of {', '.join(CONTAINERS)}")
    folder, name = split_prefix(output_dir, prefix)
    return NumberedPath(folder / f"{name}_{_next_number(folder, name):05}_.{extension}")


def split_prefix(output_dir: str | Path, prefix: str) -> tuple[Path, str]:
    """Return the folder and the name that `prefix` stands for in `output_dir`, without reading the folder.

    Raises the same ValueErrors for `prefix` as `target_path`.
    """
    # PureWindowsPath splits at both separators and detects drive letters on every system.
    given = PureWindowsPath(prefix)
    if not given.name or given.anchor or ".." in given.parts or "\0" in prefix:
        raise ValueError(f"file name {prefix!r} is not inside the output folder; give a name such as 'video/clip'")
    if len(given.parts) > MAX_FOLDERS:
        raise ValueError(f"file name {prefix[:60]!r} is in {len(given.parts) - 1} folders; use fewer than {MAX_FOLDERS}")
    root = Path(output_dir).resolve()
    *folders, name = map(_usable, given.parts)
    folder = root.joinpath(*folders)
    inside = _resolved(folder, f"{name}_00001_.webm", prefix)
    if not inside.is_relative_to(root):
        raise ValueError(f"file name {prefix!r} leads to {inside}, outside the output folder {root}; choose another name")
    return folder, name


def _resolved(folder: Path, name: str, prefix: str) -> Path:
    """Return `folder` without links. Raises ValueError when the system cannot take a file called `name` there."""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(folder / name)
        return folder.resolve()
    except OSError as error:
        reason = f"makes a path that this system does not take ({error.strerror})"
        raise ValueError(f"file name {prefix[:60]!r} {reason}; choose another name") from error


def _usable(part: str) -> str:
    """Return a part of a path as every system can use it: without characters and names that one refuses, and not too long."""
    short = part.encode(errors="replace")[:MAX_BYTES].decode(errors="ignore")
    named = _UNUSABLE.sub(lambda match: "_" * len(match[0]), short)
    return _RESERVED.sub(lambda match: f"{match[0]}_", named, count=1) if _RESERVED.match(named) else named


def _next_number(folder: Path, name: str) -> int:
    if not folder.is_dir():
        return 1
    pattern = re.compile(re.escape(name) + r"_(\d+)(?:_.*)?(?:\..*)?", re.IGNORECASE)
    used = (pattern.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in used if match), default=0) + 1
