"""`duet train CONFIG`: read a TOML file, build its stage and train it. The caller gives the stages."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..recommended import parse_sampling
from .loop import Schedule, Stage, train


@dataclass(frozen=True)
class StageSetup:
    """The settings that a stage is built from.

    config: the parsed file. base: the folder that its paths are relative to. steps: of the schedule. out: the checkpoint to
    write. on_clip(done, total): called while clips are encoded.
    """

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
        """Return the path that the config gives for `name`. Raises KeyError if it gives none."""
        return self.base / self.config[name]

    def optional_file(self, name: str) -> Path | None:
        return self.file(name) if name in self.config else None


Stages = Mapping[str, Callable[[StageSetup], Stage]]
"""The function that builds a stage, for each value of a config's `stage`."""


def train_config(path: str | Path, stages: Stages, **options: Any) -> Path:
    """Train the stage of the TOML file `path`; `options` are those of `train_settings`. Returns the run's folder."""
    return train_settings(read_config(Path(path), stages), Path(path), stages, **options)


def train_settings(
    config: dict[str, Any],
    path: Path,
    stages: Stages,
    *,
    steps: int | None = None,
    folder: Path | None = None,
    out: Path | None = None,
    on_clip: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Train the stage of a parsed config; returns the run's folder (curve, state).

    path: the file that the config was read from; paths in the config are relative to its folder.
    steps: stop after this step, with the schedule of the whole run.
    folder, out: replace the config's `run` and `out`.
    on_clip(done, total): called while clips are encoded.
    options: `resume` and `on_step` of `train`.
    Raises ValueError, in one line, if a setting is missing or wrong.
    """
    torch.manual_seed(config["seed"])
    schedule = read_schedule(config, path)
    folder, out = folder or path.parent / config["run"], out or path.parent / config["out"]
    try:
        stage = stages[config["stage"]](StageSetup(config, path.parent, schedule.steps, out, on_clip))
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing; add it (see docs/library.md, Train)") from error
    except TypeError as error:  # the network does not have that setting
        raise ValueError(f"{path}: {error}") from error
    train(stage, schedule, config["seed"], folder, stop=steps, **options)
    return folder


def read_config(path: Path, stages: Stages) -> dict[str, Any]:
    """Parse a TOML config. Raises FileNotFoundError or ValueError, in one line, if it is missing or malformed."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no training config {path}; see docs/library.md, Train")
    try:
        config = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}; correct that line") from error
    if config.get("stage") not in stages:
        raise ValueError(f"{path}: stage is {config.get('stage')!r}; give one of {', '.join(stages)}")
    for key in ("seed", "schedule", "run", "out", "stage_config"):
        if key not in config:
            raise ValueError(f"{path}: {key} is missing; add it (see docs/library.md, Train)")
    parse_sampling(config["stage_config"].get("sampling"), f"{path}: stage_config")
    return config


def read_schedule(config: dict[str, Any], path: Path) -> Schedule:
    """Return the schedule of a parsed config. Raises ValueError, in one line, if a setting is unknown or wrong."""
    settings, known = config["schedule"], [field.name for field in fields(Schedule)]
    for name in settings:
        if name not in known:
            raise ValueError(f"{path}: schedule has no {name}; it has {', '.join(known)}")
    for name in ("steps", "lr"):
        value = settings.get(name)
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{path}: schedule.{name} is {value}; give a number above 0")
    schedule = Schedule(**settings)
    if schedule.batched_muon and not schedule.muon:
        raise ValueError(f"{path}: schedule.batched_muon is true without muon; add muon = true")
    if schedule.cuda_graph and schedule.muon and not schedule.batched_muon:
        raise ValueError(f"{path}: schedule.cuda_graph is true with muon; add batched_muon = true")
    return schedule
