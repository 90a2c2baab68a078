"""Small random UNets of the classes that SVD and AudioLDM2 are, and conditions that fit them."""

from __future__ import annotations

import torch
from diffusers import AudioLDM2UNet2DConditionModel, UNetSpatioTemporalConditionModel

from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, Condition
from duet_av.av_models.experts.audioldm2 import AudioLDM2Expert
from duet_av.av_models.experts.svd import SVDExpert
from duet_av.av_models.joint.jointdit import JointDiT

IMAGE_WIDTH, TEXT_WIDTH, T5_WIDTH = 12, 8, 10


def svd_unet(channels: int = 4) -> UNetSpatioTemporalConditionModel:
    torch.manual_seed(1)
    return UNetSpatioTemporalConditionModel(
        sample_size=8, in_channels=2 * channels, out_channels=channels, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=IMAGE_WIDTH,
        num_attention_heads=2, addition_time_embed_dim=16, projection_class_embeddings_input_dim=48, num_frames=3,
    ).eval()  # fmt: skip


def audioldm2_unet(channels: int = 4) -> AudioLDM2UNet2DConditionModel:
    torch.manual_seed(2)
    return AudioLDM2UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=channels, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=((None, TEXT_WIDTH, T5_WIDTH), (None, TEXT_WIDTH, T5_WIDTH)), attention_head_dim=8,
    ).eval()  # fmt: skip


def jointdit(**changes) -> JointDiT:
    settings = {"inputs": (1, 1), "joint_blocks": 2, "audio_rate": 0.25, "qk_width": 32, "v_width": 48, "heads": 2} | changes
    video, audio = SVDExpert(svd_unet()), AudioLDM2Expert(audioldm2_unet(), IMAGE_WIDTH)
    torch.manual_seed(3)
    return JointDiT(video, audio, **settings).eval().requires_grad_(False)


def trained(model: JointDiT) -> JointDiT:
    """As if trained: no gate is zero any more."""
    torch.manual_seed(4)
    for block in model.blocks:
        for after in (*block.after_attention, *block.after_ffn):
            torch.nn.init.normal_(after.modulation[1].bias, std=0.5)
    return model


def latents(rows: int = 2, frames: int = 3, size: int = 8, steps: int = 8, bands: int = 4, seed: int = 0) -> AVLatent:
    generator = torch.Generator().manual_seed(seed)
    return AVLatent(
        torch.randn(rows, 4, frames, size, size, generator=generator), torch.randn(rows, 4, steps, bands, generator=generator)
    )


def times(rows: int = 2) -> AVTime:
    return AVTime(torch.linspace(-0.5, 0.9, rows), torch.linspace(100.0, 800.0, rows).round())


def condition(rows: int = 2, size: int = 8, seed: int = 0) -> AVCondition:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=generator)

    ids = torch.tensor([[6.0, 127.0, 0.02]]).expand(rows, -1)
    video = Condition(normal(1, IMAGE_WIDTH), torch.ones(rows, 1, dtype=torch.bool), vector=ids, image=normal(4, 1, size, size))
    second = Condition(normal(5, T5_WIDTH), torch.tensor([[True] * 4 + [False]]).expand(rows, -1))
    audio = Condition(normal(3, TEXT_WIDTH), torch.ones(rows, 3, dtype=torch.bool), vector=normal(IMAGE_WIDTH), second=second)
    return AVCondition(video, audio)
