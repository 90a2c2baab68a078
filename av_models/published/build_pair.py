"""Makes a joint denoiser of two experts.

Stable Video Diffusion and AudioLDM2 make a JointDiT, two transformers that fit an AVFullDiT, and others `SeparateExperts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

from ..precision import compute_dtype
from ..printable import printable
from ..shapes import VideoShape, sync_ratio
from .loaded_expert import LoadedExpert

if TYPE_CHECKING:
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..experts.svd import SVDExpert
    from ..joint.avfulldit import AVFullDiT
    from ..joint.jointdit import JointDiT
    from ..joint.separate_experts import SeparateExperts, SingleExpert

WIDTHS = {"qk_width": 512, "v_width": 512, "heads": 8}  # of the joint attention; the JointDiT paper does not give them


Rope = Literal["avsync", "vanilla"]
ROPES = ("avsync", "vanilla")
WOVEN_PARTS = ("embed", "blocks", "run", "text_rows", "attention_input", "project", "rotate", "finish", "head")
"""What an expert has that can be woven (see `experts.base.Expert`)."""
FOR_FILES = 4
"""Joint blocks of a JointDiT where the user has not chosen."""


def build_pair(
    video: LoadedExpert, audio: LoadedExpert, joint_blocks: int | None, clip: VideoShape, rope: Rope = "vanilla"
) -> tuple[JointDiT | AVFullDiT | SeparateExperts, str]:
    """Make the joint denoiser of two experts, with untrained joint layers. Also return why it has none, "" if it has.

    Stable Video Diffusion and AudioLDM2 make a JointDiT. Of its UNet layers without a Joint Block, a quarter are Input layers
    and the others Output layers, as in JointDiT's figure 2 (1 | 2–3 | 4–6). Two transformers that fit are woven to an AVFullDiT,
    with positions as `weave` has them. Any other pair makes `SeparateExperts`.
    joint_blocks: their number; None: as many as are recommended.
    Raises ValueError if `joint_blocks` leaves a UNet no Input or no Output layer, or are more than the shallower transformer has.
    """
    from ..joint.separate_experts import SeparateExperts

    experts = _jointdit_experts(video, audio)
    if experts is not None:
        blocks = joint_blocks or FOR_FILES
        inputs = tuple(max(1, (expert.depth - blocks) // 4) for expert in experts)
        return build_jointdit(video, audio, clip, {"inputs": inputs, "joint_blocks": blocks} | WIDTHS), ""
    reason = why_not_woven(video, audio)
    if not reason:
        return weave(video, audio, joint_blocks, rope, clip), ""
    return SeparateExperts(cast("SingleExpert", video.expert), cast("SingleExpert", audio.expert)), reason


def weave(
    video: LoadedExpert, audio: LoadedExpert, joint_blocks: int | None, rope: Rope, clip: VideoShape, attention: str = "full"
) -> AVFullDiT:
    """Make an AVFullDiT of two experts, with untrained joint layers in the precision of the audio expert.

    rope: "avsync" puts the audio on the video's time axis (AVSyncRoPE), "vanilla" keeps the positions of both experts.
    clip: its frame rate aligns them; for others see `AVFullDiT.for_clip`. joint_blocks, attention: of `AVFullDiT`.
    Raises ValueError, with the numbers, for experts that do not fit.
    """
    from ..joint.avfulldit import AVFullDiT
    from ..joint.sync_positions import SyncPositions

    if rope not in ROPES:
        raise ValueError(f"rope is {rope!r}; use one of {', '.join(ROPES)}")
    reason = why_not_woven(video, audio, joint_blocks)
    if reason:
        raise ValueError(reason)
    experts: tuple[Any, Any] = video.expert, audio.expert
    blocks = joint_blocks or recommended_joint_blocks(video, audio)
    sync = SyncPositions(video.codec.stride, audio.codec.stride, audio.codec.sample_rate, clip.fps) if rope == "avsync" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = AVFullDiT(*experts, blocks, attention, sync)
    denoiser.new_heads.to(compute_dtype(audio.expert))
    return denoiser


def recommended_joint_blocks(video: LoadedExpert, audio: LoadedExpert) -> int:
    """Return the number of joint blocks of a pair, which the paper leaves open.

    The single-stream blocks of a Flux expert: of TangoFlux 18, so that its 6 dual-stream blocks and Wan's first 12 stay their
    own. For others, all blocks of the shallower expert.
    """
    experts: tuple[Any, Any] = video.expert, audio.expert
    most = min(expert.depth for expert in experts)
    config = getattr(getattr(experts[1], "transformer", None), "config", {})
    return min(config.get("num_single_layers") or most, most)


def why_not_woven(video: LoadedExpert, audio: LoadedExpert, joint_blocks: int | None = None) -> str:
    """Return in one line, with the numbers, why two experts cannot be woven; "" if they can."""
    from ..joint.avfulldit import check_fit

    experts: tuple[Any, Any] = video.expert, audio.expert
    sizes = [_head_size(expert) for expert in experts]
    if all(sizes) and sizes[0] != sizes[1]:
        return f"the experts' head sizes differ: video {sizes[0]}, audio {sizes[1]}; use two with the same"
    for part in (video, audio):
        if getattr(part.expert, "why_not_woven", ""):
            return str(part.expert.why_not_woven)
        if not all(hasattr(part.expert, name) for name in WOVEN_PARTS):
            return f"{expert_name(part)} is not one stack of transformer blocks that can share attention; use another expert"
    try:
        check_fit(*experts, joint_blocks or recommended_joint_blocks(video, audio))
    except ValueError as error:
        return str(error)
    return ""


def _head_size(expert: Any) -> int:
    """Return the size of the attention heads of a transformer; 0 if there is not one size."""
    config = getattr(getattr(expert, "transformer", None), "config", {})
    size = getattr(expert, "head_size", None) or config.get("attention_head_dim")
    return size if isinstance(size, int) else 0


def expert_name(part: LoadedExpert) -> str:
    """Return the name of an expert for messages."""
    return printable(part.card.get("name")) if part.card.get("name") else type(part.expert).__name__.removesuffix("Expert")


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
