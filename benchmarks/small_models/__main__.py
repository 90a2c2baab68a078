"""Writes a tiny random model: `python -m duet_av.benchmarks.small_models kandinsky6 FOLDER`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

FAMILIES = (
    "ace_step", "joined_pair", "kandinsky6", "ltx2", "ovi", "pe_av", "stable_audio", "stable_audio_3", "tangoflux", "wan",
    "wan_tangoflux",
)  # fmt: skip


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(prog="python -m duet_av.benchmarks.small_models", description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--distilled", action="store_true", help="Kandinsky 6: as the distilled weights")
    arguments = parser.parse_args()
    options = {"distilled": True} if arguments.distilled else {}
    if options and arguments.family != "kandinsky6":
        parser.error(f"--distilled is for kandinsky6, not for {arguments.family}")
    import_module(f".{arguments.family}", __package__).build(arguments.folder, arguments.seed, **options)
    print(arguments.folder)


if __name__ == "__main__":
    main()
