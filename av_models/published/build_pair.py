"""A joint denoiser of two streams: woven where they are the pair that a joint model was made of, else side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..shapes import VideoShape, sync_ratio
from .loaded_expert import LoadedExpert

WIDTHS = {"qk_width": 512, "v_width": 512, "heads": 8}  # of the joint attention: JointDiT does not say


def build_pair(video: LoadedExpert, audio: LoadedExpert, joint_blocks: int, clip: VideoShape) -> nn.Module:
    """A JointDiT of Stable Video Diffusion and AudioLDM2, its joint parameters untrained; `SeparateExperts` for any other pair.

    Of the layers that get no Joint Block one in four is Input and the rest Output, as in JointDiT's figure 2 (1 | 2–3 | 4–6).
    Raises ValueError where `joint_blocks` leave a UNet no input or no output layer.
    """
    from ..joint.separate_experts import SeparateExperts

    if not is_jointdit_pair(video, audio):
        return SeparateExperts(video.expert, audio.expert)
    inputs = tuple(max(1, (part.expert.depth - joint_blocks) // 4) for part in (video, audio))
    return build_jointdit(video, audio, clip, {"inputs": inputs, "joint_blocks": joint_blocks} | WIDTHS)


def is_jointdit_pair(video: LoadedExpert, audio: LoadedExpert) -> bool:
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..experts.svd import SVDExpert

    return isinstance(video.expert, SVDExpert) and isinstance(audio.expert, AudioLDM2Expert)


def build_jointdit(video: LoadedExpert, audio: LoadedExpert, clip: VideoShape, joint: Mapping[str, Any]) -> nn.Module:
    """A JointDiT of Stable Video Diffusion and AudioLDM2 with the settings `joint` that JointDiT takes (`inputs`,
    `joint_blocks`, `qk_width`, `v_width`, `heads`, `attention`), its joint parameters untrained. ValueError for others."""
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..joint.jointdit import JointDiT

    if not is_jointdit_pair(video, audio):
        names = " and ".join(type(part.expert).__name__.removesuffix("Expert") for part in (video, audio))
        raise ValueError(f"a JointDiT is woven of Stable Video Diffusion and AudioLDM2, not of {names}; give these two")
    sound = AudioLDM2Expert(audio.expert.unet, image_width=video.expert.unet.config.cross_attention_dim)
    audio_rate = 1 / sync_ratio(video.codec.stride, clip.fps, audio.codec.stride, audio.codec.sample_rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointDiT(video.expert, sound, audio_rate=audio_rate, **joint)


def joint_layers(denoiser: nn.Module) -> nn.ModuleDict:
    """What JointDiT adds to its two experts: the Joint Blocks, and the picture's way into the sound's time embedding."""
    return nn.ModuleDict({"blocks": denoiser.blocks, "image": denoiser.audio.image})
