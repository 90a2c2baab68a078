"""Atomic file writing: a file appears under its final name only when it is complete, and never in place of a numbered one."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which does not delete an open file
    fcntl = None  # type: ignore[assignment]

_PART = ".duet-{}.part"  # short: the final name may be as long as the file system allows
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES}


class WriteError(OSError):
    """An OSError whose message is its text alone, without the system's error number in front."""

    def __str__(self) -> str:
        return str(self.strerror)


class NumberedPath(type(Path())):  # type: ignore[misc] # Python 3.11 cannot subclass Path itself
    """A path `name_00001_.ext` that stands for the next free number: `publish` raises it if the file exists by then."""

    def next(self) -> NumberedPath:
        """Return the path with the next number."""
        match = re.fullmatch(r"(.*_)(\d+)(_\.[^.]*)", self.name, re.DOTALL)
        assert match is not None
        start, number, end = match.groups()
        return type(self)(self.with_name(f"{start}{int(number) + 1:05}{end}"))


def as_path(path: str | Path) -> Path:
    """Return `path` as a Path. A numbered one stays numbered, unlike with `Path(path)`."""
    return path if isinstance(path, Path) else Path(path)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Create a new, empty file beside `path` and yield its path; create missing folders.

    The file is deleted at the end, unless it was renamed; `publish` gives it its name. It is locked meanwhile, so that those
    that killed processes left can be told from it: they are deleted here. Raises WriteError when it cannot be created.
    """
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_name(path)
        _delete_orphans(path.parent)
        part, file = _create_part(path.parent)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        if file is not None:
            os.close(file)


def publish(part: Path, path: Path) -> Path:
    """Give a complete file its final name, at once; return that name. Raises WriteError when that fails.

    An existing file is replaced, but not by a `NumberedPath`: it takes the next free number.
    """
    with explain_write_errors(path):
        if not isinstance(path, NumberedPath):
            os.replace(part, path)
            return path
        while True:
            try:
                _rename_to_new(part, path)
            except FileExistsError:
                path = path.next()
            else:
                return path


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError raised inside into a WriteError: one line that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise WriteError(error.errno, f"cannot write {path}: {reason}; {_remedy(error.errno)}") from error


def _remedy(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space, or choose another folder"
    return "choose a shorter name" if number == errno.ENAMETOOLONG else "choose a folder that you may write to"


def _check_name(path: Path) -> None:
    """Raise the OSError that creating `path` would raise for its name, before anything is written."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _create_part(folder: Path) -> tuple[Path, int | None]:
    """Create a temporary file in `folder`. Return it, and the descriptor that keeps its lock."""
    while True:
        part = folder / _PART.format(secrets.token_hex(4))
        # Not tempfile: only the owner can read its files.
        file = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if fcntl is None:
            os.close(file)
            return part, None
        with suppress(OSError):  # a file system without locks: nobody deletes the file there
            fcntl.flock(file, fcntl.LOCK_EX)
        if part.exists():
            return part, file
        os.close(file)  # another process took it for an orphan before it was locked


def _delete_orphans(folder: Path) -> None:
    """Delete the temporary files in `folder` that no process holds."""
    for part in folder.glob(_PART.format("*")):
        with suppress(OSError):  # in use, gone, or not ours to delete
            if fcntl is None:
                part.unlink()
                continue
            file = os.open(part, os.O_WRONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(file)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename `part` to `path`. Raises FileExistsError if that exists."""
    if os.name == "nt":
        os.rename(part, path)
        return
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(part, path)
