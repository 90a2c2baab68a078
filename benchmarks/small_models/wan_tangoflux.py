"""A tiny random pair of Wan 2.2 TI2V-5B and TangoFlux, in a folder `models` with the names of the files that people download."""

from __future__ import annotations

from pathlib import Path

from . import tangoflux, wan

AUDIO = "duet/TangoFlux"


def build(folder: Path, seed: int = 0) -> None:
    """Write the network, text encoder and VAE of Wan, and the folder of TangoFlux. folder: ComfyUI's `models`."""
    wan.build_files(folder, seed)
    tangoflux.build(folder / AUDIO, seed)
