"""The guidance that a MODEL carries, from Joint Guider or Joint Guidance for KSampler."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .guide_model import GUIDANCE_KEY


def guidance_of(patcher: ModelPatcher) -> Any:
    """Returns what samples a guided MODEL, with its `strategy` and its `bad_patcher`; None for another MODEL."""
    wrappers = patcher.get_wrappers(WrappersMP.OUTER_SAMPLE, GUIDANCE_KEY)
    return wrappers[0].__self__ if wrappers else None
