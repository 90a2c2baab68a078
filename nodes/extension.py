"""The pack: its nodes, in the order of a usual graph."""

from __future__ import annotations

from .decode import DuetDecode
from .empty_latent import DuetEmptyLatent
from .encode_prompts import DuetEncodePrompts
from .guidance import DuetGuidance
from .host import ComfyExtension, io
from .joint_sampler import DuetJointSampler
from .load_joint_model import DuetLoadJointModel
from .mux import DuetMux

NODES: tuple[type[io.ComfyNode], ...] = (
    DuetLoadJointModel,
    DuetEncodePrompts,
    DuetEmptyLatent,
    DuetGuidance,
    DuetJointSampler,
    DuetDecode,
    DuetMux,
)


class DuetExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
