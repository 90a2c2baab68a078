"""Small random AudioLDM and AnimateDiff pipelines, of the classes of the real ones, frozen: bits may differ where they are not."""

from __future__ import annotations

import torch
from diffusers import (
    AnimateDiffPipeline,
    AudioLDMPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from torch import nn
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from duet_av.av_models.codecs.image_vae import ImageCodec
from duet_av.av_models.codecs.mel_vae import MelCodec
from duet_av.av_models.contract import AVCondition
from duet_av.av_models.experts import animatediff_text, audioldm_text
from duet_av.av_models.experts.animatediff import AnimateDiffExpert
from duet_av.av_models.experts.audioldm import AudioLDMExpert
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.shapes import VideoShape

CLAP_WIDTH, CLIP_WIDTH, MOST_FRAMES = 16, 12, 6
LETTERS = "abdelrt"
AUDIOLDM_BETAS = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
ANIMATEDIFF_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}
DDIM = {"clip_sample": False, "steps_offset": 1}


def vocabulary(*special: str) -> dict[str, int]:
    """Letters, at the end of a word and inside one; byte-pair tokenizers need no more."""
    return {token: i for i, token in enumerate([*special, *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "Ġ"])}


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def image_vae_config(channels: int = 3) -> dict:
    return {
        "in_channels": channels, "out_channels": channels, "block_out_channels": [8, 8], "norm_num_groups": 4,
        "latent_channels": 4, "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
        "scaling_factor": 0.5,
    }  # fmt: skip


def audioldm() -> AudioLDMPipeline:
    torch.manual_seed(11)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(32, 64), class_embed_type="simple_projection", class_embeddings_concat=True,
        projection_class_embeddings_input_dim=CLAP_WIDTH, attention_head_dim=8,
    )  # fmt: skip
    special = vocabulary("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    text = ClapTextConfig(
        vocab_size=len(special), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        projection_dim=CLAP_WIDTH, max_position_embeddings=CLAP_WIDTH + 2,
    )  # fmt: skip
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=8, sampling_rate=16000, upsample_initial_channel=16, upsample_rates=[2, 2], upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], normalize_before=False,
    )  # fmt: skip
    pipeline = AudioLDMPipeline(
        vae=frozen(AutoencoderKL(**image_vae_config(1))), text_encoder=frozen(ClapTextModelWithProjection(text)),
        tokenizer=RobertaTokenizer(special, [], model_max_length=CLAP_WIDTH), unet=frozen(unet),
        scheduler=DDIMScheduler(**AUDIOLDM_BETAS, **DDIM), vocoder=frozen(SpeechT5HifiGan(vocoder)),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def animatediff() -> AnimateDiffPipeline:
    """A Stable Diffusion UNet, and a motion adapter that is put into it."""
    torch.manual_seed(12)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=CLIP_WIDTH, attention_head_dim=8,
    )  # fmt: skip
    adapter = MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_num_attention_heads=2, motion_norm_num_groups=4,
        motion_max_seq_length=MOST_FRAMES,
    )  # fmt: skip
    special = vocabulary("<|startoftext|>", "<|endoftext|>")
    text = CLIPTextConfig(
        vocab_size=len(special), hidden_size=CLIP_WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    pipeline = AnimateDiffPipeline(
        vae=frozen(AutoencoderKL(**image_vae_config())), text_encoder=frozen(CLIPTextModel(text)),
        tokenizer=CLIPTokenizer(special, [], model_max_length=12), unet=frozen(UNetMotionModel.from_unet2d(unet, adapter)),
        motion_adapter=adapter, scheduler=DDIMScheduler(**ANIMATEDIFF_BETAS, **DDIM),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pair(video: AnimateDiffPipeline, audio: AudioLDMPipeline) -> JointModel:
    """Both pipelines as a joint model that was never woven. It needs no conditioner: its conditions are the pipelines' own."""
    denoiser = SeparateExperts(AnimateDiffExpert(video.unet), AudioLDMExpert(audio.unet))
    codecs = ImageCodec(video.vae, 2), MelCodec(audio.vae, audio.vocoder)
    return JointModel({"name": "Apart", "trained": False}, denoiser, *codecs, nn.Module(), VideoShape(3, 16, 16, 750))


def asked(video: AnimateDiffPipeline, audio: AudioLDMPipeline, words: str) -> AVCondition:
    return AVCondition(animatediff_text.encode_prompt(video, words), audioldm_text.encode_prompt(audio, words))
