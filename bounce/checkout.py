"""Files of Duet, in a checkout of its repository or in an installed package. An installed package is never written to."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The root of the checkout, or the folder `duet_av` of the installed package."""


def is_checkout() -> bool:
    """Whether Duet runs from a checkout. A wheel has no pyproject.toml."""
    return (ROOT / "pyproject.toml").is_file()


def find_file(path: Path) -> Path:
    """`path`, or the file at `path` below `ROOT` if there is none in the working directory."""
    shipped = ROOT / path
    return shipped if not path.exists() and shipped.is_file() else path


def require_checkout(tool: str) -> None:
    """Exits with one line on standard error if Duet is an installed package: `tool` uses other files of the repository."""
    if not is_checkout():
        print(f"{tool} needs a checkout of Duet, and {ROOT} is an installed package; clone the repository first", file=sys.stderr)
        raise SystemExit(2)


def require_writable_config(config: Path) -> None:
    """Raises ValueError if a training `config` is in the installed package, because training writes files next to it."""
    if not is_checkout() and config.resolve().is_relative_to(ROOT):
        raise ValueError(
            f"{config} is in the installed package, and training writes files next to it; "
            f"copy the folder {ROOT / 'bounce'} and use the config in the copy"
        )
