"""The runs of `duet experiment hearing`: the pair, its seeds, the looser worlds, and the paper's ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Arm:
    """One training run: what it changes in the common settings.

    `stage`: in `stage_config`; `sound`: what the model hears, "tight", "delayed" or "absent" (see `LatentSet.with_sound`).
    """

    name: str
    seed: int = SEEDS[0]
    stage: Mapping[str, Any] = field(default_factory=dict)
    sound: str = "tight"

    @property
    def hears(self) -> bool:
        return self.stage.get("lambda_a", 1.0) > 0


def deaf(batch: int) -> dict[str, Any]:
    """The T2V-only counterpart: no row is coupled, and no loss comes from the sound."""
    return {"lambda_a": 0.0, "removed_rows": batch}


def pair(batch: int) -> list[Arm]:
    """Hearing and not, seed by seed."""
    return [arm for seed in SEEDS for arm in (Arm(f"t2av_{seed}", seed), Arm(f"t2v_{seed}", seed, deaf(batch)))]


def arms(batch: int) -> list[Arm]:
    """All of them; the pair first, so that a study cut short is still a paired one."""
    loose = [Arm(f"t2av_{sound}", sound=sound) for sound in ("delayed", "absent")]
    ablations = [
        Arm("vanilla_rope", stage={"rope": "vanilla"}),
        Arm("expand_video", stage={"rope": "expand_video"}),
        Arm("cross_attention", stage={"attention": "cross"}),
        Arm("lambda_a_0.1", stage={"lambda_a": 0.1}),
        Arm("joint_blocks_2", stage={"joint_blocks": 2}),
    ]
    return [*pair(batch), *loose, *ablations]
