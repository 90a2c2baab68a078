"""Makes a joint denoiser of two experts: a JointDiT of Stable Video Diffusion and AudioLDM2, else separate experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..shapes import VideoShape, sync_ratio
from .loaded_expert import LoadedExpert

if TYPE_CHECKING:
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..experts.svd import SVDExpert
    from ..joint.jointdit import JointDiT
    from ..joint.separate_experts import SeparateExperts, SingleExpert

WIDTHS = {"qk_width": 512, "v_width": 512, "heads": 8}  # of the joint attention; the JointDiT paper does not give them


def build_pair(video: LoadedExpert, audio: LoadedExpert, joint_blocks: int, clip: VideoShape) -> JointDiT | SeparateExperts:
    """Make the joint denoiser of two experts, with untrained joint layers.

    Stable Video Diffusion and AudioLDM2 make a JointDiT, any other pair makes `SeparateExperts`. Of the UNet layers without a
    Joint Block, a quarter are Input layers and the others Output layers, as in JointDiT's figure 2 (1 | 2–3 | 4–6).
    Raises ValueError if `joint_blocks` leaves a UNet no Input or no Output layer.
    """
    from ..joint.separate_experts import SeparateExperts

    experts = _jointdit_experts(video, audio)
    if experts is None:
        return SeparateExperts(cast("SingleExpert", video.expert), cast("SingleExpert", audio.expert))
    inputs = tuple(max(1, (expert.depth - joint_blocks) // 4) for expert in experts)
    return build_jointdit(video, audio, clip, {"inputs": inputs, "joint_blocks": joint_blocks} | WIDTHS)


def _jointdit_experts(video: LoadedExpert, audio: LoadedExpert) -> tuple[SVDExpert, AudioLDM2Expert] | None:
    """Return both experts if they are Stable Video Diffusion and AudioLDM2."""
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..experts.svd import SVDExpert

    if isinstance(video.expert, SVDExpert) and isinstance(audio.expert, AudioLDM2Expert):
        return video.expert, audio.expert
    return None


def build_jointdit(video: LoadedExpert, audio: LoadedExpert, clip: VideoShape, joint: Mapping[str, Any]) -> JointDiT:
    """Make a JointDiT of Stable Video Diffusion and AudioLDM2 with untrained joint layers.

    clip: the clip size that the model is used for; its frame rate aligns video and audio positions.
    joint: JointDiT's settings `inputs`, `joint_blocks`, `qk_width`, `v_width`, `heads` and `attention`.
    Raises ValueError for other experts.
    """
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..joint.jointdit import JointDiT

    svd, audioldm2 = find_jointdit_experts(video, audio)
    audio_expert = AudioLDM2Expert(audioldm2.unet, image_width=svd.unet.config.cross_attention_dim)
    audio_rate = 1 / sync_ratio(video.codec.stride, clip.fps, audio.codec.stride, audio.codec.sample_rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointDiT(svd, audio_expert, audio_rate=audio_rate, **joint)


def find_jointdit_experts(video: LoadedExpert, audio: LoadedExpert) -> tuple[SVDExpert, AudioLDM2Expert]:
    """Return both experts. Raises ValueError unless they are Stable Video Diffusion and AudioLDM2."""
    experts = _jointdit_experts(video, audio)
    if experts is None:
        names = " and ".join(type(part.expert).__name__.removesuffix("Expert") for part in (video, audio))
        raise ValueError(f"the experts are {names}; a JointDiT needs Stable Video Diffusion and AudioLDM2")
    return experts


def joint_layers(denoiser: JointDiT) -> nn.ModuleDict:
    """Return the layers that JointDiT adds to its two experts: the Joint Blocks, and the projection of the image embedding."""
    image = denoiser.audio.image
    assert image is not None, "the audio expert has no image projection"
    return nn.ModuleDict({"blocks": denoiser.blocks, "image": image})
