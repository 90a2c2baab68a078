"""A tiny random pair of Wan 2.2 TI2V-5B and TangoFlux, in a folder `models` with the names of the files that people download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import tangoflux, wan

AUDIO = "duet/TangoFlux"


def build(folder: Path, seed: int = 0, steps: int = tangoflux.SIZES.steps) -> None:
    """Write the network, text encoder and VAE of Wan, and the folder of TangoFlux.

    folder: ComfyUI's `models`. steps: the latent steps of every audio clip; fewer are quicker, and for shorter clips.
    """
    wan.build_files(folder, seed)
    tangoflux.build(folder / AUDIO, seed, replace(tangoflux.SIZES, steps=steps))
