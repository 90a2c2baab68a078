"""Guidance of a model without coupling, such as two models that run side by side and do not affect each other."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from .autoguidance import Autoguidance
from .base import Guidance
from .cfg import CFG
from .dual_cfg import DualCFG
from .joint_cfg import JointCFG, JointCFGStar
from .modality_cfg import ModalityCFG
from .stg import STG

COUPLING: dict[str, Any] = {"a_to_v": 1.0, "v_to_a": 1.0, "removed": False, "a_to_v_curve": None, "v_to_a_curve": None}


def without_coupling(guidance: Guidance) -> Guidance:
    """Return the guidance with the same result where P(c,0) = P(c,1), without branches that would be the same.

    JointCFG, JointCFG* and dual CFG become CFG. So do modality CFG and STG if they skip no block.
    """
    if _is_cfg(guidance):
        return CFG(**{field.name: getattr(guidance, field.name) for field in fields(CFG)} | COUPLING)
    own: dict[str, Any] = {"bad_removed": False} if isinstance(guidance, Autoguidance) else {}
    return replace(guidance, **COUPLING, **own)


def describe_without_coupling(guidance: Guidance) -> list[str]:
    """Return lines that say what a missing coupling changes, or none."""
    found, used = [], without_coupling(guidance)
    if used.name != guidance.name:
        found.append(f"this model has no coupling, so {guidance.name} equals {used.name}")
    if any(getattr(guidance, name) != usual for name, usual in COUPLING.items() if name != "removed"):
        found.append("a_to_v and v_to_a have no effect: this model has no coupling")
    return found


def _is_cfg(guidance: Guidance) -> bool:
    if isinstance(guidance, ModalityCFG | STG):
        return guidance.video_skip_scale == guidance.audio_skip_scale == 1
    return isinstance(guidance, JointCFG | JointCFGStar | DualCFG)
