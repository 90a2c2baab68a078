"""`duet train CONFIG`: from a TOML file to a stage, and through the loop."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import read_card
from ..published.load import is_published
from .loop import Schedule, Stage, train

STAGES = (
    "video_codec", "audio_codec", "video_expert", "audio_expert", "joint", "svd_expert", "audioldm2_expert", "jointdit",
    "binder", "robust_binder",
)  # fmt: skip
CAPTIONLESS = ("jointdit",)  # stages that a folder of videos is enough for


def train_config(path: str | Path, **options: Any) -> Path:
    """Train what the TOML file at `path` describes, with the `options` of `train_settings`."""
    return train_settings(read_config(Path(path)), Path(path), **options)


def train_settings(
    config: dict[str, Any],
    path: Path,
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
        stage = make_stage(config, path.parent, schedule.steps, out, on_clip)
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing; add it (see bounce/configs for examples)") from error
    except TypeError as error:  # a setting that the network does not have
        raise ValueError(f"{path}: {error}") from error
    train(stage, schedule, config["seed"], folder, resume=resume, stop=steps, on_step=on_step)
    return folder


def read_config(path: Path) -> dict[str, Any]:
    """The parsed file; FileNotFoundError or ValueError in one line where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no training config {path}; see bounce/configs for examples")
    try:
        config = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}; mend that line") from error
    if config.get("stage") not in STAGES:
        raise ValueError(f"{path}: stage is {config.get('stage')!r}; give one of {', '.join(STAGES)}")
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


def make_stage(config: dict[str, Any], base: Path, steps: int, out: Path, on_clip=None) -> Stage:
    kind, settings = config["stage"], config["stage_config"]
    if kind in ("video_codec", "audio_codec"):
        from .bounce_codecs import AudioCodecStage, VideoCodecStage

        return (VideoCodecStage if kind == "video_codec" else AudioCodecStage)(settings, steps, out)
    if kind == "binder":
        from .bounce_binder import BinderStage

        return BinderStage(settings, out)
    if kind == "robust_binder":
        from .robust_binder import RobustBinderStage

        files = (base / config[name] for name in ("audio_codec", "audio_expert"))
        return RobustBinderStage(settings, *files, out, base / config["start"] if "start" in config else None)
    of = config["data"]
    if kind == "jointdit" and any(map(is_published, _experts(config, base))):
        return _published_jointdit(config, base, out, on_clip)
    # What a run begins with is looked at before an hour of encoding.
    if "start" in config and not (base / config["start"]).is_file():
        raise FileNotFoundError(f"start is {base / config['start']}, which is not there; train it first, or leave start out")
    if kind in ("joint", "jointdit"):
        for path in _experts(config, base):
            read_card(path)
    data = _read_data(kind, of, settings, base, on_clip)
    torch.manual_seed(config["seed"])  # encoding drew from it, reading the cache did not
    if kind in ("svd_expert", "audioldm2_expert"):
        from .bounce_unets import AudioLDM2Stage, SVDStage

        return (SVDStage if kind == "svd_expert" else AudioLDM2Stage)(settings, data, out)
    if kind in ("joint", "jointdit"):
        clips = {"training_clips": of["clips"], "training_seed": of["seed"]} if "clips" in of else {"videos": len(data)}
        settings["data_card"] = clips
        files = _experts(config, base)
        if kind == "jointdit":
            from .bounce_unets import BounceJointDiTStage

            return BounceJointDiTStage(settings, *files, data, out)
        from .bounce_joint import JointStage

        return JointStage(settings, *files, data, out, base / config["start"] if "start" in config else None)
    from .bounce_experts import ExpertStage

    return ExpertStage(kind, settings, data, out)


def _experts(config: dict[str, Any], base: Path) -> tuple[Path, Path]:
    return base / config["video_expert"], base / config["audio_expert"]


def _published_jointdit(config: dict[str, Any], base: Path, out: Path, on_clip) -> Stage:
    """Stable Video Diffusion and AudioLDM2 on a folder of videos, encoded by their own codecs."""
    from ..published.load import load_published
    from .folder import Encoders
    from .published_jointdit import PublishedJointDiTStage

    settings, of, paths = config["stage_config"], config["data"], _experts(config, base)
    if "folder" not in of:
        raise ValueError("published experts are trained on a folder of videos; give data.folder")
    video, audio = load_published(paths[0], "video"), load_published(paths[1], "audio")
    data = _read_folder(of, settings, base, Encoders.of_published(video, audio, *paths), on_clip)
    torch.manual_seed(config["seed"])
    settings["data_card"] = {"videos": len(data)}
    return PublishedJointDiTStage(settings, video, audio, data, out)


def _read_data(kind: str, of: dict[str, Any], settings: dict[str, Any], base: Path, on_clip):
    """Bounce's clips, or those of a folder of videos, as latents."""
    codecs = [base / of[name] if name in of else None for name in ("video_codec", "audio_codec")]
    if "folder" in of:
        if kind not in CAPTIONLESS:
            raise ValueError(f"a folder of videos has no captions; train {' or '.join(CAPTIONLESS)} on it, not {kind}")
        from .folder import Encoders

        return _read_folder(of, settings, base, Encoders.of_files(*codecs), on_clip)
    from .latents import latent_set

    clips = latent_set(*codecs, of["clips"], of["size"], of["seed"], base / of["cache"], on_clip)
    return clips.with_sound(of.get("sound", "tight"), of["seed"])


def _read_folder(of: dict[str, Any], settings: dict[str, Any], base: Path, encoders, on_clip):
    from .folder import folder_latents

    names = base / of["list"] if "list" in of else None
    return folder_latents(base / of["folder"], names, encoders, settings["clip"], base / of["cache"], on_clip)
