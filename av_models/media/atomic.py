"""Atomic file writing: a file appears under its final name only when it is complete."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WriteError(OSError):
    """An OSError whose message is its text alone, without the system's error number in front."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Create a new, empty file beside `path` and yield its path; create missing folders.

    The file is deleted at the end unless the caller has renamed it. Raises WriteError when it cannot be created.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Not tempfile: only the owner can read its files.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError raised inside into a WriteError: one line that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space, or choose another folder" if full else "choose a folder that you may write to"
        raise WriteError(error.errno, f"cannot write {path}: {reason}; {remedy}") from error
