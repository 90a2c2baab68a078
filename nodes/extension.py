"""The node pack, with its nodes in the order of a typical workflow."""

from __future__ import annotations

from .aligned_sampler import DuetAlignedSampler
from .aligner import DuetAligner
from .best_take import DuetBestTake
from .best_take_guider import DuetBestTakeGuider
from .bounce_clip import DuetBounceClip
from .compare import DuetCompare
from .compare_guiders import DuetCompareGuiders
from .conditioning_prompts import DuetPromptsFromConditioning
from .decode import DuetDecode
from .empty_joint_latent import DuetEmptyJointLatent
from .empty_latent import DuetEmptyLatent
from .encode import DuetEncode
from .encode_prompts import DuetEncodePrompts
from .expert_lora import DuetAudioExpertLora, DuetVideoExpertLora
from .guidance import DuetGuidance
from .guidance_modifiers import DuetGuidanceModifiers
from .host import ComfyExtension, io
from .join_conditioning import DuetJoinConditioning
from .join_experts import DuetJoinExperts
from .join_models import DuetJoinModels
from .joint_guider import DuetJointGuider, DuetJointNoise, DuetModelGuidance
from .joint_sampler import DuetJointSampler
from .load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from .load_joint_model import DuetLoadJointModel
from .mux import DuetMux
from .replace_sound import DuetReplaceSound
from .show_comparison import DuetShowComparison
from .sync_report import DuetSyncReport

NODES: tuple[type[io.ComfyNode], ...] = (
    DuetLoadJointModel,
    DuetLoadVideoExpert,
    DuetLoadAudioExpert,
    DuetJoinExperts,
    DuetBounceClip,
    DuetEncodePrompts,
    DuetEmptyLatent,
    DuetEncode,
    DuetGuidance,
    DuetGuidanceModifiers,
    DuetAligner,
    DuetJointSampler,
    DuetCompare,
    DuetShowComparison,
    DuetDecode,
    DuetMux,
    DuetReplaceSound,
    DuetSyncReport,
    DuetJoinConditioning,
    DuetJointGuider,
    DuetModelGuidance,
    DuetJointNoise,
    DuetCompareGuiders,
    DuetPromptsFromConditioning,
    DuetVideoExpertLora,
    DuetAudioExpertLora,
    DuetJoinModels,
    DuetEmptyJointLatent,
    DuetBestTake,
    DuetAlignedSampler,
    DuetBestTakeGuider,
)


class DuetExtension(ComfyExtension):
    """The extension that ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
