"""Open media files, and nothing that their contents name: playlists and references reach no other file and no network."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

Source = str | Path | io.BytesIO

NO_PROTOCOLS = {"protocol_whitelist": "none"}  # the file itself is read through Python


def name_of(source: Source) -> str:
    """Return the name of a file for messages."""
    return "the video in memory" if isinstance(source, io.BytesIO) else str(source)


@contextmanager
def open_container(source: Source, kind: str = "video") -> Iterator[InputContainer]:
    """Open a file, or a file's contents in memory, for reading.

    kind: what it should be, for messages. Raises FileNotFoundError, OSError, or ValueError when it is no such file.
    """
    with _open_bytes(source) as content:
        if not content.read(1):
            raise ValueError(f"{name_of(source)} is damaged or is not a readable {kind} (it is empty); use another file")
        content.seek(0)
        with explain_damage(source, kind):
            container = av.open(content, "r", metadata_errors="replace", options=NO_PROTOCOLS)
        with container:
            yield container


@contextmanager
def explain_damage(source: Source, kind: str = "video") -> Iterator[None]:
    """Turn FFmpeg's errors, while a file is read, into one line."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:  # OSError: of the file under the container
        reason = error.strerror or type(error).__name__
        line = f"{name_of(source)} is damaged or is not a readable {kind} ({reason}); encode or copy it again"
        raise ValueError(line) from error


def demux(container: InputContainer, *streams: Any) -> Iterator[av.Packet[Any]]:
    """Yield the packets of some streams, also of files in which further streams appear while they are read."""
    with suppress(IndexError):  # PyAV's, at the end of such files
        yield from container.demux(*streams)


class _Memory(io.BytesIO):
    """Fails as a file does where a damaged file leads FFmpeg to a position before its start."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError as error:
            raise OSError(errno.EINVAL, "invalid position") from error


def _open_bytes(source: Source) -> io.BufferedReader | io.BytesIO:
    if isinstance(source, io.BytesIO):
        return _Memory(source.getvalue())  # with a position of its own
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        return path.open("rb")
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
