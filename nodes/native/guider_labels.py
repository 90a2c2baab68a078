"""Names of GUIDERs, ours and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...av_models.compare_guidances import describe_differences, label_guidances, number_duplicates
from .guider import JointGuider


def label_guiders(guiders: Sequence[Any]) -> list[str]:
    """Returns a unique label per guider: the name and settings of our guidance, or the class and scales of another guider."""
    ours = [each.strategy for each in guiders if isinstance(each, JointGuider)]
    named = iter(label_guidances(ours))
    return number_duplicates([next(named) if isinstance(each, JointGuider) else _label_other(each) for each in guiders])


def differences(guiders: Sequence[Any]) -> list[str]:
    """Returns lines that say in which settings our guidances differ, or none if another guider is among them."""
    ours = [each.strategy for each in guiders if isinstance(each, JointGuider)]
    return describe_differences(ours) if len(ours) == len(guiders) else []


def _label_other(guider: Any) -> str:
    """Returns such as "CFGGuider cfg 3": the scales are the numbers with "cfg" in their names. One of 1 alone has no effect."""
    scales = {name: each for name, each in vars(guider).items() if "cfg" in name and isinstance(each, int | float)}
    if len(scales) > 1 or scales.get("cfg") == 1:
        scales.pop("cfg", None)  # the largest of the others, where there are some
    return " ".join([type(guider).__name__.removeprefix("Guider_"), *(f"{name} {each:g}" for name, each in scales.items())])
