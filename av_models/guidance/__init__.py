"""Guidance strategies by name."""

from __future__ import annotations

from dataclasses import fields

from .apg import APG
from .autoguidance import Autoguidance
from .base import AffineGuidance, Branch, Guidance, Text, Weight
from .cfg import CFG, NoGuidance
from .cfg_zero_star import CFGZeroStar
from .cost import Cost, cost_of, require_able, rows_of
from .curve import Curve
from .dual_cfg import DualCFG
from .joint_cfg import JointCFG, JointCFGStar
from .modality_cfg import ModalityCFG
from .step import Step
from .stg import STG

__all__ = [
    "GUIDANCE", "AffineGuidance", "Branch", "Cost", "Curve", "Guidance", "Step", "Text", "Weight",
    "cost_of", "make_guidance", "require_able", "rows_of",
]  # fmt: skip

STRATEGIES = (NoGuidance, CFG, JointCFG, JointCFGStar, DualCFG, ModalityCFG, Autoguidance, CFGZeroStar, APG, STG)
GUIDANCE: dict[str, type[Guidance]] = {cls.name: cls for cls in STRATEGIES}


def make_guidance(name: str, scale: float | None = None, **settings: float | Curve) -> Guidance:
    """The guidance strategy called `name`, with the default value of each setting that is not given.

    scale: short for `video_scale` and `audio_scale`. Raises ValueError for an unknown name or setting, or a NaN or
    infinite value.
    """
    if name not in GUIDANCE:
        raise ValueError(f"guidance is {name!r}; choose one of {', '.join(GUIDANCE)}")
    if scale is not None:
        settings = {"video_scale": scale, "audio_scale": scale} | settings
    known = [field.name for field in fields(GUIDANCE[name])]
    unknown = ", ".join(key for key in settings if key not in known)
    if unknown:
        raise ValueError(f"guidance {name} has no setting {unknown}; it has {', '.join(known)}")
    return GUIDANCE[name](**settings)
