"""ComfyUI's joint audio-video models: one adapter a model. To support another one, write its adapter and add a line here."""

import comfy.model_base

from ..joined.model import JoinedModel
from .base import NativeModel
from .joined import Joined
from .ltx import LTX2
from .minimax_h3 import MiniMaxH3

ADAPTERS: dict[type, type[NativeModel]] = {
    comfy.model_base.LTXAV: LTX2,
    comfy.model_base.MiniMaxH3: MiniMaxH3,
    JoinedModel: Joined,
}
