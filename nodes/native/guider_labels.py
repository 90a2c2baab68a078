"""Names of GUIDERs, ours and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...av_models.compare_guidances import describe_differences, label_guidances, number_duplicates
from .guide_model import guidance_of
from .models import native_model


def label_guiders(guiders: Sequence[Any]) -> list[str]:
    """Returns a unique label per guider: the name and settings of our guidance, or the class and scales of another guider."""
    guidances = [guidance_of(each.model_patcher) for each in guiders]
    named = iter(label_guidances([each.strategy for each in guidances if each is not None]))
    return number_duplicates([_label_other(each) if ours is None else next(named) for each, ours in zip(guiders, guidances)])


def differences(guiders: Sequence[Any]) -> list[str]:
    """Returns lines that say in which settings our guidances differ, or none if another guider is among them."""
    guidances = [guidance_of(each.model_patcher) for each in guiders]
    return [] if None in guidances else describe_differences([each.strategy for each in guidances])


def changes(guiders: Sequence[Any]) -> list[str]:
    """Returns lines that say where our guidances act differently on the model of their guider, each once."""
    guidances = [(each.model_patcher, guidance_of(each.model_patcher)) for each in guiders]
    found = [native_model(patcher).describe_changes(own.strategy) for patcher, own in guidances if own is not None]
    return list(dict.fromkeys(line for lines in found for line in lines))


def _label_other(guider: Any) -> str:
    """Returns such as "CFGGuider cfg 3": the scales are the numbers with "cfg" in their names. One of 1 alone has no effect."""
    scales = {name: each for name, each in vars(guider).items() if "cfg" in name and isinstance(each, int | float)}
    if len(scales) > 1 or scales.get("cfg") == 1:
        scales.pop("cfg", None)  # the largest of the others, where there are some
    return " ".join([type(guider).__name__.removeprefix("Guider_"), *(f"{name} {each:g}" for name, each in scales.items())])
