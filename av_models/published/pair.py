"""A joint denoiser of two streams: woven where they are the pair that a joint model was made of, else side by side."""

from __future__ import annotations

import torch
from torch import nn

from ..shapes import VideoShape, sync_ratio
from .parts import Published

WIDTHS = {"qk_width": 512, "v_width": 512, "heads": 8}  # of the joint attention: JointDiT does not say


def paired(video: Published, audio: Published, joint_blocks: int, clip: VideoShape) -> nn.Module:
    """A JointDiT of Stable Video Diffusion and AudioLDM2, its joint parameters untrained; `Apart` for any other pair.

    Of the layers that get no Joint Block one in four is Input and the rest Output, as in JointDiT's figure 2 (1 | 2–3 | 4–6).
    Raises ValueError where `joint_blocks` leave a UNet no input or no output layer.
    """
    from ..experts.audioldm2 import AudioLDM2Expert
    from ..experts.svd import SVDExpert
    from ..joint.apart import Apart
    from ..joint.jointdit import JointDiT

    if not (isinstance(video.expert, SVDExpert) and isinstance(audio.expert, AudioLDM2Expert)):
        return Apart(video.expert, audio.expert)
    sound = AudioLDM2Expert(audio.expert.unet, image_width=video.expert.unet.config.cross_attention_dim)
    audio_rate = 1 / sync_ratio(video.codec.stride, clip.fps, audio.codec.stride, audio.codec.sample_rate)
    inputs = tuple(max(1, (expert.depth - joint_blocks) // 4) for expert in (video.expert, sound))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointDiT(video.expert, sound, inputs=inputs, joint_blocks=joint_blocks, audio_rate=audio_rate, **WIDTHS)
