"""One training run of a study: a config with something changed, resumed where it was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copy2
from typing import Any

from ...av_models.training.config import train_settings
from ..training.stages import STAGES

Progress = Callable[[str, int, int], None]  # what is going on, done, of how many


def checkpoint_of(name: str, folder: Path) -> Path:
    return folder / "models" / f"{name}.safetensors"


def train_arm(name: str, settings: dict[str, Any], config: Path, folder: Path, progress: Progress) -> Path:
    """Its checkpoint below `folder`, trained where it is not there yet. `settings`: the config's, with what the arm changes."""
    out = checkpoint_of(name, folder)
    if out.exists():
        return out
    for modality, codec in settings["stage_config"]["codecs"].items():  # a joint model's codecs lie beside it
        out.parent.mkdir(parents=True, exist_ok=True)
        copy2(config.parent / settings["data"][f"{modality}_codec"], out.parent / codec)

    def on_step(done: int, of: int, _: float) -> None:
        progress(f"training {name}", done, of)

    train_settings(settings, config, STAGES, resume=True, folder=folder / "runs" / name, out=out, on_step=on_step)
    return out
