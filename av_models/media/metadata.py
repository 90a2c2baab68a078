"""Text tags of a file, such as the workflow: checked, and in the form that each container keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .settings import RESERVED_KEYS, Container


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return `metadata`. Raises ValueError for a key or value that files cannot keep."""
    for key, value in (metadata or {}).items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ValueError(f"metadata {key!r} is a {type(value).__name__}; give text, for example from json.dumps")
        if "\0" in key + value:
            raise ValueError(f"metadata {key!r} contains a NUL character, which containers do not support; remove it")
        if key.lower() in RESERVED_KEYS:
            raise ValueError(f"metadata {key!r} is a tag that the container writes itself; choose another name")
    return dict(metadata or {})


def container_tags(metadata: Mapping[str, str], container: Container) -> dict[str, str]:
    """Return the tags to write. wav keeps only known ones: there, all of them are JSON in the comment."""
    return {"comment": json.dumps(dict(metadata))} if container == "wav" and metadata else dict(metadata)
