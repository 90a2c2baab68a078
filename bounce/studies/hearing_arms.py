"""The training runs of `duet experiment hearing`: the pair, its seeds, the changed audio, and the ablations of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Arm:
    """One training run and its changes to the common config.

    stage: changes to `stage_config`. sound: the audio of the training clips, "tight", "delayed" or "absent" (see
    `LatentSet.with_sound`).
    """

    name: str
    seed: int = SEEDS[0]
    stage: Mapping[str, Any] = field(default_factory=dict)
    sound: str = "tight"

    @property
    def hears(self) -> bool:
        """Whether the model is trained with audio."""
        return self.stage.get("lambda_a", 1.0) > 0


def video_only(batch: int) -> dict[str, Any]:
    """Returns the changes for the T2V-only counterpart: all rows without joint parameters, and no audio loss."""
    return {"lambda_a": 0.0, "removed_rows": batch}


def paired_arms(batch: int) -> list[Arm]:
    """Returns the runs with audio and without, for each seed."""
    return [arm for seed in SEEDS for arm in (Arm(f"t2av_{seed}", seed), Arm(f"t2v_{seed}", seed, video_only(batch)))]


def all_arms(batch: int) -> list[Arm]:
    """Returns all runs. The pair is first, so that an interrupted study has complete pairs."""
    changed_audio = [Arm(f"t2av_{sound}", sound=sound) for sound in ("delayed", "absent")]
    ablations = [
        Arm("vanilla_rope", stage={"rope": "vanilla"}),
        Arm("expand_video", stage={"rope": "expand_video"}),
        Arm("cross_attention", stage={"attention": "cross"}),
        Arm("lambda_a_0.1", stage={"lambda_a": 0.1}),
        Arm("joint_blocks_2", stage={"joint_blocks": 2}),
    ]
    return [*paired_arms(batch), *changed_audio, *ablations]
