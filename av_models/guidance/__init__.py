"""Guidance strategies by name."""

from __future__ import annotations

from dataclasses import fields

from .base import AffineGuidance, Branch, Cost, Guidance, Step, Weight, cost_of, require_kinds, rows_of
from .cfg import CFG, NoGuidance
from .dual_cfg import DualCFG
from .joint_cfg import JointCFG, JointCFGStar

__all__ = [
    "GUIDANCE", "AffineGuidance", "Branch", "Cost", "Guidance", "Step", "Weight",
    "cost_of", "make_guidance", "require_kinds", "rows_of",
]  # fmt: skip

GUIDANCE: dict[str, type[Guidance]] = {cls.name: cls for cls in (NoGuidance, CFG, JointCFG, JointCFGStar, DualCFG)}


def make_guidance(name: str, **settings: float) -> Guidance:
    """The strategy called `name`. Raises ValueError for an unknown name or setting, or a NaN or infinite value."""
    if name not in GUIDANCE:
        raise ValueError(f"guidance is {name!r}; choose one of {', '.join(GUIDANCE)}")
    known = [field.name for field in fields(GUIDANCE[name])]
    unknown = ", ".join(key for key in settings if key not in known)
    if unknown:
        raise ValueError(f"guidance {name} has no setting {unknown}; it has {', '.join(known)}")
    return GUIDANCE[name](**settings)
