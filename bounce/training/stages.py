"""The training stages by their names in configs: those of Bounce, and those of the library for published experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...av_models.checkpoint import read_card
from ...av_models.published.load_published import is_published
from ...av_models.training import config
from ...av_models.training import stages as library
from ...av_models.training.config import StageSetup
from ...av_models.training.latents import LatentSet
from ...av_models.training.loop import AnyStage as Stage
from .fields import STAGE_FIELDS, check_stage

OnClip = Callable[[int, int], None] | None
CAPTIONLESS = ("jointdit",)  # stages that do not need captions


def _codec(setup: StageSetup) -> Stage:
    from .codec_stages import AudioCodecStage, VideoCodecStage

    stage = VideoCodecStage if setup.kind == "video_codec" else AudioCodecStage
    return stage(setup.settings, setup.steps, setup.out)


def _binder(setup: StageSetup) -> Stage:
    from .binder_stage import BinderStage

    return BinderStage(setup.settings, setup.out)


def _robust_binder(setup: StageSetup) -> Stage:
    from .robust_binder_stage import RobustBinderStage

    files = setup.file("audio_codec"), setup.file("audio_expert")
    return RobustBinderStage(setup.settings, *files, setup.out, setup.optional_file("start"))


def _binder_in_time(setup: StageSetup) -> Stage:
    from .binder_in_time_stage import BinderInTimeStage

    return BinderInTimeStage(setup.settings, setup.file("audio_codec"), setup.file("audio_expert"), setup.out)


def _expert(setup: StageSetup) -> Stage:
    from .expert_stages import ExpertStage

    return ExpertStage(setup.kind, setup.settings, _data(setup), setup.out)


def _unet(setup: StageSetup) -> Stage:
    from .jointdit_stages import AudioLDM2Stage, SVDStage

    stage = SVDStage if setup.kind == "svd_expert" else AudioLDM2Stage
    return stage(setup.settings, _data(setup), setup.out)


def _joint(setup: StageSetup) -> Stage:
    from .joint_stage import JointStage

    return JointStage(setup.settings, *_experts(setup), _joint_data(setup), setup.out, setup.optional_file("start"))


def _jointdit(setup: StageSetup) -> Stage:
    if any(map(is_published, _experts(setup))):
        from ...av_models.training.published_jointdit import make_published_stage

        return make_published_stage(setup)
    from .jointdit_stages import BounceJointDiTStage

    return BounceJointDiTStage(setup.settings, *_experts(setup), _joint_data(setup), setup.out)


STAGES = {
    "video_codec": _codec, "audio_codec": _codec, "video_expert": _expert, "audio_expert": _expert, "joint": _joint,
    "svd_expert": _unet, "audioldm2_expert": _unet, "jointdit": _jointdit, "binder": _binder, "robust_binder": _robust_binder,
    "binder_in_time": _binder_in_time,
    **library.STAGES,
}  # fmt: skip


def read_config(path: Path) -> dict[str, Any]:
    """Reads and checks a config (see `av_models.training.config.read_config`)."""
    parsed = config.read_config(path, STAGES, library.FIELDS | STAGE_FIELDS)
    experts = [path.parent / parsed[name] for name in ("video_expert", "audio_expert") if name in parsed]
    check_stage(parsed, path, brings_codecs=any(is_published(expert) or not expert.exists() for expert in experts))
    return parsed


def train_config(path: str | Path, **options: Any) -> Path:
    """Trains a config and returns the path of the checkpoint (see `av_models.training.config.train_config`)."""
    return config.train_settings(read_config(Path(path)), Path(path), STAGES, **options)


def make_stage(settings: dict[str, Any], base: Path, steps: int, out: Path, on_clip: OnClip = None) -> Stage:
    """Makes the stage of a parsed config; paths in it are relative to `base`. `on_clip`: called with (done, total)."""
    return STAGES[settings["stage"]](StageSetup(settings, base, steps, out, on_clip))


def _experts(setup: StageSetup) -> tuple[Path, Path]:
    return setup.file("video_expert"), setup.file("audio_expert")


def _joint_data(setup: StageSetup) -> LatentSet:
    for path in _experts(setup):
        read_card(path)  # reports a missing file before the clips are encoded
    data, of = _data(setup), setup.config["data"]
    clips = {"training_clips": of["clips"], "training_seed": of["seed"]} if "clips" in of else {"videos": len(data)}
    setup.settings["data_card"] = clips
    return data


def _data(setup: StageSetup) -> LatentSet:
    """Encodes simulated clips, or those of a folder of videos, as latents."""
    start = setup.optional_file("start")
    if start is not None and not start.is_file():
        raise FileNotFoundError(f"start is {start}, which does not exist; train it first, or leave start out")
    data = _read_data(setup)
    torch.manual_seed(setup.config["seed"])  # encoding uses random numbers, reading the cache does not
    return data


def _read_data(setup: StageSetup) -> LatentSet:
    of, base = setup.config["data"], setup.base
    codecs = [base / of[name] if name in of else None for name in ("video_codec", "audio_codec")]
    if "folder" in of:
        if setup.kind not in CAPTIONLESS:
            raise ValueError(
                f"stage is {setup.kind}, which needs captions; a folder of videos has none, train {' or '.join(CAPTIONLESS)} on it"
            )
        from ...av_models.training.folder import Encoders, read_folder

        return read_folder(setup, Encoders.from_files(*codecs))
    from .bounce_latents import latent_set

    clips = latent_set(*codecs, of["clips"], of["size"], of["seed"], base / of["cache"], setup.on_clip)
    return clips.with_sound(of.get("sound", "tight"), of["seed"])
