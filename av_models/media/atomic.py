"""Files that appear under their name only when whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WriteError(OSError):
    """Says its reason alone: ComfyUI shows an OSError with the system's number before it."""

    def __str__(self) -> str:
        return self.strerror


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, gone at the end unless it was renamed. Makes missing folders."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Not tempfile: its files are readable by their owner alone.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turns the system's refusals into one line that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space, or choose another folder" if full else "choose a folder that you may write to"
        raise WriteError(error.errno, f"cannot write {path}: {reason}; {remedy}") from error
