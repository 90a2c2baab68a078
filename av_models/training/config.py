"""`duet train CONFIG`: read a TOML file, build its stage and train it. The caller gives the stages."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..limited_file import read_limited
from ..out_of_memory import is_out_of_memory
from ..printable import printable, quoted
from ..recommended import parse_sampling
from .fields import CONFIG, SCHEDULE, Field, Table, check_table
from .loop import AnyStage, Schedule, train

MOST_BYTES = 64 * 1024  # of a config
NETWORK_ERRORS = (ArithmeticError, AssertionError, AttributeError, IndexError, MemoryError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class StageSetup:
    """The settings that a stage is built from.

    config: the parsed file. base: the folder that its paths are relative to. steps: of the schedule. out: the checkpoint to
    write. on_clip(done, total): called while clips are encoded. folder: of the run; None without one. say: called with lines for
    the user.
    """

    config: dict[str, Any]
    base: Path
    steps: int
    out: Path
    on_clip: Callable[[int, int], None] | None = None
    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None

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


Stages = Mapping[str, Callable[[StageSetup], AnyStage]]
"""The function that builds a stage, for each value of a config's `stage`."""
Fields = Mapping[str, Field]
"""What `stage_config` is for each value of a config's `stage`."""


def train_config(path: str | Path, stages: Stages, fields: Fields = {}, **options: Any) -> Path:
    """Train the stage of the TOML file `path`; `options` are those of `train_settings`. Returns the run's folder.

    fields: as for `read_config`.
    """
    return train_settings(read_config(Path(path), stages, fields), Path(path), stages, **options)


def train_settings(
    config: dict[str, Any],
    path: Path,
    stages: Stages,
    *,
    steps: int | None = None,
    folder: Path | None = None,
    out: Path | None = None,
    on_clip: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Path:
    """Train the stage of a parsed config; returns the run's folder (curve, state).

    path: the file that the config was read from; paths in the config are relative to its folder.
    steps: stop after this step, with the schedule of the whole run.
    folder, out: replace the config's `run` and `out`.
    on_clip(done, total): called while clips are encoded. say: called with lines for the user.
    options: `resume` and `on_step` of `train`.
    Raises ValueError, in one line, if a setting is missing or wrong.
    """
    torch.manual_seed(config["seed"])
    schedule = read_schedule(config, path)
    folder, out = folder or path.parent / config["run"], out or path.parent / config["out"]
    if out.exists() and not out.is_file():
        raise ValueError(f"{path}: out is {out}, which is a folder or a device; give the name of a file")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{path}: run is {folder}, which is a file; give the name of a folder")
    _check_writable(out)
    setup = StageSetup(config, path.parent, schedule.steps, out, on_clip, folder, say)
    stage = _build(stages[config["stage"]], setup, path)
    train(stage, schedule, config["seed"], folder, stop=steps, **options)
    return folder


def _check_writable(out: Path) -> None:
    """Raise OSError before a long run if its result cannot be written."""
    folder = next(each for each in out.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"cannot write {out}; choose a folder that you may write to")


def _build(make: Callable[[StageSetup], AnyStage], setup: StageSetup, path: Path) -> AnyStage:
    """Build the stage. What its networks refuse is a ValueError, in one line, that names the config."""
    try:
        return make(setup)
    except KeyError as error:
        raise ValueError(f"{path}: {printable(error.args[0])} is missing; add it (see docs/library.md, Train)") from error
    except FileNotFoundError:
        raise
    except NETWORK_ERRORS as error:  # such as a setting that the network does not have, or widths that do not fit
        if is_out_of_memory(error):
            raise ValueError(f"{path}: out of memory; make the network or the data smaller") from error
        raise ValueError(_named(error, path)) from error


def _named(error: Exception, path: Path) -> str:
    text = printable(error, 300)
    if isinstance(error, ValueError) and "; " in text:  # one of ours
        return text if str(path) in text else f"{path}: {text}"
    return f"{path}: stage_config does not fit its network ({text}); compare it with a config in configs or bounce/configs"


def read_config(path: Path, stages: Stages, fields: Fields = {}) -> dict[str, Any]:
    """Parse and check a TOML config. fields: those of `stage_config`, for each stage.

    Raises FileNotFoundError or ValueError, in one line, if it is missing or malformed.
    """
    config = _read_toml(path)
    if not isinstance(config.get("stage"), str) or config["stage"] not in stages:
        raise ValueError(f"{path}: stage is {quoted(config.get('stage'))}; give one of {', '.join(stages)}")
    check_table(config.get("stage_config", {}), f"{path}: stage_config")
    parse_sampling(config.get("stage_config", {}).get("sampling"), f"{path}: stage_config")
    if "schedule" in config:
        read_schedule(config, path)
    Table(CONFIG | {"stage_config": fields.get(config["stage"], CONFIG["stage_config"])}).check(config, f"{path}: ")
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"there is no training config {path}; see docs/library.md, Train")
    content = read_limited(path, MOST_BYTES, "give a training config (see docs/library.md, Train)")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also for bytes that are no text, and for nesting without end
        reason = "values are nested too deeply" if isinstance(error, RecursionError) else printable(error)
        raise ValueError(f"{path} is not TOML: {reason}; correct that line") from error


def read_schedule(config: dict[str, Any], path: Path) -> Schedule:
    """Return the schedule of a parsed config. Raises ValueError, in one line, if a setting is unknown or wrong."""
    settings, where = config["schedule"], f"{path}: schedule"
    check_table(settings, where, [name.removesuffix("?") for name in SCHEDULE])
    for name in ("steps", "lr"):
        SCHEDULE[name].check(settings.get(name), f"{where}.{name}")
    Table(SCHEDULE).check(settings, where)
    schedule = Schedule(**settings)
    if schedule.batched_muon and not schedule.muon:
        raise ValueError(f"{path}: schedule.batched_muon is true without muon; add muon = true")
    if schedule.cuda_graph and schedule.muon and not schedule.batched_muon:
        raise ValueError(f"{path}: schedule.cuda_graph is true with muon; add batched_muon = true")
    return schedule
