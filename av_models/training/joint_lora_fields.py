"""The fields of `stage_config` of the stage "joint_lora"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..printable import quoted
from .fields import BATCH, CLIP, SHARE, WEIGHT, Flag, Number, Table, Text

MOST_NAMES = 100


@dataclass(frozen=True)
class Names:
    """A list of at least one text."""

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_NAMES:
            raise ValueError(f'{where} is {quoted(value)}; give a list of ends of names, such as ["to_q", "to_k"]')
        for number, item in enumerate(value):
            Text().check(item, f"{where}[{number}]")


LORA = Table({"rank": Number(1, 4096, whole=True), "alpha?": Number(0, 1e6, above=True), "targets?": Names()})
JOINT_LORA = Table({
    "batch": BATCH, "clip": CLIP, "lora": LORA, "lambda_a": WEIGHT, "condition_dropout": SHARE, "first_frame?": SHARE,
    "time?": Table({"loc?": Number(-100, 100), "scale?": WEIGHT}), "gradient_checkpointing?": Flag(), "name?": Text(),
})  # fmt: skip
