"""The fields of `stage_config`, and the files, that each training stage needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...av_models.training.fields import (
    BATCH,
    CLIP,
    COUNT,
    PIXELS,
    ROWS,
    SHARE,
    WEIGHT,
    Anything,
    Field,
    FilePath,
    Flag,
    Items,
    Network,
    Number,
    Table,
    Text,
)
from ...av_models.training.stages import missing_files

POSITIVE = Number(0, 1e6, above=True)
REAL = Number(-1e6, 1e6)
WORDS = Table({"length?": COUNT, "width?": COUNT, "layers?": COUNT, "heads?": COUNT})  # of `WordEncoder`
OPTIONS: dict[str, Field] = {"sampling?": Anything(), "name?": Text(), "compile?": Flag()}
POOLS: dict[str, Field] = {"clips_per_pool": COUNT, "steps_per_pool": COUNT}
BINDER: dict[str, Field] = {
    "batch": BATCH, "size": PIXELS, "picture_noise": WEIGHT, "sound_noise": WEIGHT, "model": Network(), **POOLS,
}  # fmt: skip
ROBUST: dict[str, Field] = {"attack": Table({"moves": ROWS, "far": WEIGHT}), "estimates": SHARE}
EXPERT: dict[str, Field] = {
    "batch": BATCH, "text_dropout": SHARE, "time": Table({"loc": REAL, "scale": WEIGHT}), "neutral?": SHARE, "text": WORDS,
    "model": Network(),
}  # fmt: skip
UNET: dict[str, Field] = {"batch": BATCH, "condition_dropout": SHARE}
JOINT: dict[str, Field] = {
    "batch": BATCH, "lambda_a": WEIGHT, "cut_rows": ROWS, "removed_rows": ROWS, "clip": CLIP,
}  # fmt: skip
CODECS = Table({"video": FilePath(named=True), "audio": FilePath(named=True)})
MODES = ("video", "audio", "first_frame", "beginning", "video_stretch", "audio_stretch")
ALIGN: dict[str, Field] = {"frames?": COUNT, "place?": WEIGHT, "kind?": WEIGHT}

STAGE_FIELDS: dict[str, Table] = {
    name: Table(fields | OPTIONS)
    for name, fields in {
        "video_codec": {
            "size": PIXELS, "crop": PIXELS, "batch": Number(3, 100_000, whole=True), "whole": SHARE, "latent_noise?": WEIGHT,
            "decoder_of?": FilePath(), "model?": Network(), **POOLS,
        },
        "audio_codec": {"batch": BATCH, **POOLS, "model": Network()},
        "binder": BINDER,
        "robust_binder": BINDER | ROBUST,
        "binder_in_time": BINDER | ROBUST | {"batch": Number(4, 100_000, whole=True), "window": Number(2, 31, whole=True),
                                             "shifts": Number(1, 30, whole=True)},
        "video_expert": EXPERT | {"coordinates?": Flag()},
        "audio_expert": EXPERT | {"rope_scale": POSITIVE},
        "joint": JOINT | {
            "joint_blocks": COUNT, "text_dropout": SHARE, "given_rows": ROWS, "time": EXPERT["time"], "codecs": CODECS,
            "sample_rate": COUNT, "rope?": Text(), "attention?": Text(), "frozen_text?": Flag(),
            "align?": Table({"block": ROWS, **ALIGN}), "modes?": Table({f"{mode}?": SHARE for mode in MODES}),
        },
        "svd_expert": UNET | {
            "fps": POSITIVE, "motion_bucket": REAL, "model": Network(),
            "edm": Table({"mean?": REAL, "std?": WEIGHT, "lowest?": POSITIVE, "highest?": POSITIVE}),
        },
        "audioldm2_expert": UNET | {"prediction": Text(("v", "epsilon", "x0")), "text": WORDS, "model": Network()},
        "jointdit": UNET | JOINT | {
            "loss": Text(), "lambda_v": WEIGHT, "joint": Network(), "ahead?": Items(ROWS, 2), "codecs?": CODECS,
            "sample_rate?": COUNT, "align?": Table({"path": ROWS, "strike": ROWS, "weight": WEIGHT, **ALIGN}),
        },
    }.items()
}  # fmt: skip

FILES = {"joint": ("video_expert", "audio_expert"), "jointdit": ("video_expert", "audio_expert"),
         "robust_binder": ("audio_codec", "audio_expert"), "binder_in_time": ("audio_codec", "audio_expert")}  # fmt: skip
CODECS_OF_DATA = {
    "video_expert": ("video_codec",), "svd_expert": ("video_codec",), "audio_expert": ("audio_codec",),
    "audioldm2_expert": ("audio_codec",), "joint": ("video_codec", "audio_codec"), "jointdit": ("video_codec", "audio_codec"),
}  # fmt: skip
OF_CLIPS = ("clips", "size", "seed")


def check_stage(config: dict[str, Any], path: Path, brings_codecs: bool) -> None:
    """Raise ValueError, in one line, if a config lacks what its stage needs, or its numbers do not fit each other.

    brings_codecs: whether an expert is a published checkpoint, or a missing file, which is reported later.
    """
    stage, settings = config["stage"], config["stage_config"]
    published = stage == "jointdit" and brings_codecs
    needed = [name for name in FILES.get(stage, ()) if name not in config] + missing_files(config)
    if stage in CODECS_OF_DATA:
        of = config.get("data", {})
        clips = () if "folder" in of or published else OF_CLIPS
        codecs = () if published else CODECS_OF_DATA[stage]
        needed += ["data"] * ("data" not in config) + [f"data.{name}" for name in (*codecs, *clips) if name not in of]
    if stage == "jointdit" and not published:
        needed += [f"stage_config.{name}" for name in ("codecs", "sample_rate") if name not in settings]
    if needed:
        raise ValueError(f"{path}: {needed[0]} is missing; add it (see docs/library.md, Train)")
    _check_numbers(settings, f"{path}: stage_config")


def _check_numbers(settings: dict[str, Any], where: str) -> None:
    if settings.get("crop", 0) > settings.get("size", 0):
        raise ValueError(f"{where}.crop is {settings['crop']}; give at most {settings['size']}, the size")
    modes = settings.get("modes")
    if modes is not None and abs(sum(modes.values()) - 1) > 1e-6:
        raise ValueError(f"{where}.modes adds up to {sum(modes.values()):g}; give shares that add up to 1")
    rows = settings.get("given_rows", 0)
    if rows > settings["batch"]:
        raise ValueError(f"{where}.given_rows is {rows}; give at most {settings['batch']}, the batch")
