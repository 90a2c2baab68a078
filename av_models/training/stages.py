"""The training stages of the library, for data of the user, by their names in configs. `bounce.training.stages` adds its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .config import StageSetup
from .fields import BATCH, CLIP, COUNT, ROWS, SHARE, WEIGHT, Anything, Flag, Number, Table, Text
from .joint_lora_fields import JOINT_LORA
from .loop import AnyStage


def _avfulldit(setup: StageSetup) -> AnyStage:
    from .pair_stage import make_pair_stage

    return make_pair_stage(setup)


def _joint_lora(setup: StageSetup) -> AnyStage:
    from .joint_lora_stage import make_joint_lora_stage

    return make_joint_lora_stage(setup)


STAGES: Mapping[str, Callable[[StageSetup], AnyStage]] = {"avfulldit": _avfulldit, "joint_lora": _joint_lora}
FIELDS: dict[str, Table] = {
    "avfulldit": Table({
        "batch": BATCH, "parts": Text(("joint", "lora", "full")), "clip": CLIP, "lambda_a": WEIGHT, "cut_rows": ROWS,
        "removed_rows": ROWS, "condition_dropout": SHARE, "time": Table({"loc": Number(-1e6, 1e6), "scale": WEIGHT}),
        "rope?": Text(("avsync", "vanilla")), "joint_blocks?": COUNT, "first_frame_rows?": ROWS,
        "gradient_checkpointing?": Flag(), "attention?": Text(("full", "cross")),
        "lora?": Table({"rank": Number(1, 4096, whole=True)}), "sources?": Table({"video?": Text(), "audio?": Text()}),
        "name?": Text(), "sampling?": Anything(),
    }),
    "joint_lora": JOINT_LORA,
}  # fmt: skip
"""The fields of `stage_config`, by stage."""
FILES: dict[str, tuple[str, ...]] = {
    "avfulldit": ("video_expert", "audio_expert", "data.folder"), "joint_lora": ("model", "data.folder"),
}  # fmt: skip
"""What a config needs beside them, by stage."""


def missing_files(config: Mapping[str, Any]) -> list[str]:
    """Return the names of what a config lacks for its stage."""
    names = [name.split(".") for name in FILES.get(config["stage"], ())]
    return [".".join(name) for name in names if name[-1] not in (config.get(name[0], {}) if len(name) > 1 else config)]
