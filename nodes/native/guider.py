"""A ComfyUI guider that runs any of Duet's guidance strategies on a native joint model."""

from __future__ import annotations

import comfy.samplers
from comfy.model_patcher import ModelPatcher

from ...av_models.guidance import Guidance
from .guide_model import guide_model


class JointGuider(comfy.samplers.CFGGuider):
    """A guider of a MODEL with guidance. It needs a negative prompt only if the strategy does."""

    def __init__(
        self, model: ModelPatcher, strategy: Guidance, positive: list, negative: list | None, bad_model: ModelPatcher | None = None
    ) -> None:
        super().__init__(guide_model(model, strategy, bad_model))
        self.strategy = strategy
        self.raw_conds = (positive, positive if negative is None else negative)  # some samplers read what was connected
        self.set_conds(positive, negative)

    def set_conds(self, positive: list, negative: list | None) -> None:
        self.original_conds = {}  # other packs copy a guider and change the prompts of the copy
        self.inner_set_conds({"positive": positive} if negative is None else {"positive": positive, "negative": negative})
