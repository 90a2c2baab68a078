"""Experts that people can download in other forms than a diffusers folder alone: a module for each family.

A family is a module of this package with the functions of `ExpertFamily`, and a line in `FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ...load_parts import AUDIO_EXPERT, VIDEO_EXPERT
from ..expert_options import ExpertOptions, Found
from ..loaded_expert import LoadedExpert

FAMILIES: dict[str, str] = {
    "ace_step": AUDIO_EXPERT,
    "stable_audio": AUDIO_EXPERT,
    "stable_audio_3": AUDIO_EXPERT,
    "tangoflux": AUDIO_EXPERT,
    "wan": VIDEO_EXPERT,
}
"""The kind of each family's experts ("video_expert" or "audio_expert"), by the name of its module."""
__all__ = ["AUDIO_EXPERT", "FAMILIES", "VIDEO_EXPERT", "ExpertFamily", "family_module", "find_expert"]


class ExpertFamily(Protocol):
    """The functions of a family's module.

    Some have `network_files(path)` too: the files with the network in a folder that also has others.
    """

    def find(self, path: Path) -> Found | None:
        """Return what a file or folder is, if it is an expert of this family; else None. Reads no weights."""
        ...

    def describe(self, path: Path, options: ExpertOptions) -> dict[str, Any]:
        """Return the card of an expert, without reading weights.

        It has `kind`, `architecture`, `name`, `licence`, `parameters`, `bytes`, `precision`, `names`, `blocks`, `heads`,
        `head_size` (these three are 0 where the family is never woven), and lists of short texts: `capabilities`, `needs`
        (missing parts) and `notes`.
        """
        ...

    def files(self, path: Path, options: ExpertOptions) -> list[Path]:
        """Return all files that the loaded expert depends on."""
        ...

    def load(self, path: Path, options: ExpertOptions) -> LoadedExpert:
        """Load the expert and its codec. Text encoders are loaded with the first prompt, and only then missed."""
        ...


def family_module(name: str) -> ExpertFamily:
    """Return the module of a family."""
    return cast(ExpertFamily, import_module(f".{name}", __package__))


def find_expert(path: str | Path) -> Found | None:
    """Return what a file or folder is, if it is an expert of one of `FAMILIES`; else None."""
    return next((found for name in FAMILIES if (found := family_module(name).find(Path(path)))), None)
