"""Guidance strategies by name, their branches, and functions that check them and estimate their cost."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .apg import APG
from .autoguidance import Autoguidance
from .base import AffineGuidance, Branch, Guidance, PromptKind, Weight
from .cfg import CFG, NoGuidance
from .cfg_zero_star import CFGZeroStar
from .cost import Cost, check_supported, count_rows, estimate_cost, resolve_block
from .curve import Curve
from .dual_cfg import DualCFG
from .joint_cfg import JointCFG, JointCFGStar
from .modality_cfg import ModalityCFG
from .step import Step
from .stg import STG
from .uncoupled import describe_without_coupling, without_coupling

__all__ = [
    "GUIDANCE", "AffineGuidance", "Branch", "Cost", "Curve", "Guidance", "PromptKind", "Step", "Weight",
    "check_supported", "count_rows", "describe_without_coupling", "estimate_cost", "make_guidance", "resolve_block",
    "without_coupling",
]  # fmt: skip

STRATEGIES = (NoGuidance, CFG, JointCFG, JointCFGStar, DualCFG, ModalityCFG, Autoguidance, CFGZeroStar, APG, STG)
GUIDANCE: dict[str, type[Guidance]] = {cls.name: cls for cls in STRATEGIES}


def make_guidance(name: str, scale: float | None = None, **settings: Any) -> Guidance:
    """Make the guidance strategy `name` ("cfg", "joint_cfg", …; GUIDANCE lists the names).

    scale: the guidance scale of both modalities, short for `video_scale` and `audio_scale`.
    settings: the strategy's settings, such as `video_scale=3.0` or `rescale=0.7`. Those left out have their defaults.
    Raises ValueError for an unknown name, an unknown setting, or a value that is not a finite number or not in its range.
    """
    if name not in GUIDANCE:
        raise ValueError(f"guidance is {name!r}; choose one of {', '.join(GUIDANCE)}")
    if scale is not None:
        settings = {"video_scale": scale, "audio_scale": scale} | settings
    known = [field.name for field in fields(GUIDANCE[name])]
    unknown = ", ".join(key for key in settings if key not in known)
    if unknown:
        raise ValueError(f"guidance {name} has no setting {unknown}; choose from {', '.join(known)}")
    return GUIDANCE[name](**settings)
