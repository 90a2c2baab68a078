"""Trains one run of a study. An interrupted run is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copy2
from typing import Any

from ...av_models.training.config import train_settings
from ..training.stages import STAGES

Progress = Callable[[str, int, int], None]
"""Called with (activity, done, total)."""


def checkpoint_path(name: str, folder: Path) -> Path:
    """Returns the path of the checkpoint of a run."""
    return folder / "models" / f"{name}.safetensors"


def train_arm(name: str, settings: dict[str, Any], config: Path, folder: Path, progress: Progress) -> Path:
    """Trains a run in `folder`, unless its checkpoint exists, and returns the path of the checkpoint.

    settings: the parsed config with the changes of this run. config: the config file; paths are relative to it.
    """
    out = checkpoint_path(name, folder)
    if out.exists():
        return out
    for modality, codec in settings["stage_config"]["codecs"].items():  # a joint model expects its codecs in its folder
        out.parent.mkdir(parents=True, exist_ok=True)
        copy2(config.parent / settings["data"][f"{modality}_codec"], out.parent / codec)

    def on_step(done: int, total: int, _: float) -> None:
        progress(f"training {name}", done, total)

    train_settings(settings, config, STAGES, resume=True, folder=folder / "runs" / name, out=out, on_step=on_step)
    return out
