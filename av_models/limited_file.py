"""Read files of a limited size, such as workflows and configs of strangers."""

from __future__ import annotations

from pathlib import Path


def read_limited(path: Path, most: int, remedy: str) -> bytes:
    """Return the content of a file of at most `most` bytes. remedy: the end of an error's line.

    Raises ValueError, in one line, for what is no file, is larger, or cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file; {remedy}")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check the file") from error
    if len(content) > most:
        size = f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 1024} KiB"
        raise ValueError(f"{path} is larger than {size}; {remedy}")
    return content
