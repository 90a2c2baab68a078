"""`duet train CONFIG`: from a TOML file to a stage, and through the loop. The caller says which stages there are."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from .loop import Schedule, Stage, train


@dataclass(frozen=True)
class StageSetup:
    """What a stage is built from: the parsed `config`, the folder `base` that its paths are relative to, the schedule's
    `steps`, the checkpoint file `out`, and `on_clip(done, total)` for progress while clips are encoded."""

    config: dict[str, Any]
    base: Path
    steps: int
    out: Path
    on_clip: Callable[[int, int], None] | None = None

    @property
    def kind(self) -> str:
        return self.config["stage"]

    @property
    def settings(self) -> dict[str, Any]:
        return self.config["stage_config"]

    def file(self, name: str) -> Path:
        """The file that the config calls `name`."""
        return self.base / self.config[name]

    def optional_file(self, name: str) -> Path | None:
        return self.file(name) if name in self.config else None


Stages = Mapping[str, Callable[[StageSetup], Stage]]
"""What builds each stage, by the name that a config's `stage` gives."""


def train_config(path: str | Path, stages: Stages, **options: Any) -> Path:
    """Train what the TOML file at `path` describes, with the `options` of `train_settings`."""
    return train_settings(read_config(Path(path), stages), Path(path), stages, **options)


def train_settings(
    config: dict[str, Any],
    path: Path,
    stages: Stages,
    *,
    resume: bool = False,
    steps: int | None = None,
    folder: Path | None = None,
    out: Path | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> Path:
    """Train what a config that was read from `path` describes; returns the run's folder (curve, state).

    `steps`: halt early, with the schedule of the whole run. `folder`, `out`: where the run and the checkpoint go instead
    of the config's `run` and `out`. Paths in the config are relative to `path`.
    """
    torch.manual_seed(config["seed"])
    schedule = read_schedule(config, path)
    folder, out = folder or path.parent / config["run"], out or path.parent / config["out"]
    try:
        stage = stages[config["stage"]](StageSetup(config, path.parent, schedule.steps, out, on_clip))
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing; add it (see bounce/configs for examples)") from error
    except TypeError as error:  # a setting that the network does not have
        raise ValueError(f"{path}: {error}") from error
    train(stage, schedule, config["seed"], folder, resume=resume, stop=steps, on_step=on_step)
    return folder


def read_config(path: Path, stages: Stages) -> dict[str, Any]:
    """The parsed file; FileNotFoundError or ValueError in one line where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no training config {path}; see bounce/configs for examples")
    try:
        config = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}; mend that line") from error
    if config.get("stage") not in stages:
        raise ValueError(f"{path}: stage is {config.get('stage')!r}; give one of {', '.join(stages)}")
    for key in ("seed", "schedule", "run", "out", "stage_config"):
        if key not in config:
            raise ValueError(f"{path}: {key} is missing; add it (see bounce/configs for examples)")
    return config


def read_schedule(config: dict[str, Any], path: Path) -> Schedule:
    settings, known = config["schedule"], [field.name for field in fields(Schedule)]
    for name in settings:
        if name not in known:
            raise ValueError(f"{path}: schedule has no {name}; it has {', '.join(known)}")
    for name in ("steps", "lr"):
        value = settings.get(name)
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{path}: schedule.{name} is {value}; give a number above 0")
    return Schedule(**settings)
