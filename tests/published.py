"""Small random pipelines of the classes of Stable Video Diffusion and AudioLDM2, as diffusers saves them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
)
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    GPT2Config,
    GPT2Model,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from duet_av.tests.unets import IMAGE_WIDTH, T5_WIDTH, TEXT_WIDTH, audioldm2_unet, svd_unet

WORDS = ["a", "ball", "bounces", "metal", "rain", "wood"]
SVD_VAE = {"block_out_channels": (32, 64), "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 2}
SVD_VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 56,
    "projection_dim": IMAGE_WIDTH, "hidden_act": "gelu",
}  # fmt: skip
SVD_SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
    "timestep_type": "continuous", "timestep_spacing": "leading", "use_karras_sigmas": True, "sigma_min": 0.002,
    "sigma_max": 700.0, "steps_offset": 1, "interpolation_type": "linear",
}  # fmt: skip
AUDIOLDM2_SCHEDULER = {
    "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear", "clip_sample": False, "steps_offset": 1,
}  # fmt: skip


def svd_pipeline() -> StableVideoDiffusionPipeline:
    torch.manual_seed(21)
    vae = AutoencoderKLTemporalDecoder(**SVD_VAE)
    for name, parameter in vae.named_parameters():
        if "mix_factor" in name or "temporal" in name and "conv2" in name:  # zero as built: nothing would depend on them
            torch.nn.init.normal_(parameter, std=0.3)
    pipeline = StableVideoDiffusionPipeline(
        vae.eval(), CLIPVisionModelWithProjection(CLIPVisionConfig(**SVD_VISION)).eval(), svd_unet(),
        EulerDiscreteScheduler(**SVD_SCHEDULER), CLIPImageProcessor(),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def vocoder(bands: int = 8, rates: tuple[int, ...] = (5, 2), kernels: tuple[int, ...] = (16, 4)) -> SpeechT5HifiGan:
    """As AudioLDM's, a kernel is longer than its rate by an odd number, so that a little more comes out than went in."""
    return SpeechT5HifiGan(SpeechT5HifiGanConfig(
        model_in_dim=bands, sampling_rate=16000, upsample_initial_channel=32, upsample_rates=list(rates),
        upsample_kernel_sizes=list(kernels), resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], normalize_before=False,
    )).eval()  # fmt: skip


def mel_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=1, out_channels=1, block_out_channels=[8, 8], norm_num_groups=4, latent_channels=4, scaling_factor=0.41,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    ).eval()  # fmt: skip


def audioldm2_pipeline() -> AudioLDM2Pipeline:
    torch.manual_seed(22)
    special = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abdelmnorstuwci", "Ġ"])}
    text = ClapTextConfig(
        vocab_size=len(special), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=34, projection_dim=12, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    audio = ClapAudioConfig(
        spec_size=8, window_size=4, num_mel_bins=8, intermediate_size=16, depths=[1, 1], num_attention_heads=[1, 1],
        num_hidden_layers=1, hidden_size=32, patch_embeds_hidden_size=16, projection_dim=12, patch_size=2, patch_stride=2,
        patch_embed_input_channels=4,
    )  # fmt: skip
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -float(i)) for i, word in enumerate(WORDS))]
    pipeline = AudioLDM2Pipeline(
        vae=mel_vae(), vocoder=vocoder(), unet=audioldm2_unet(), scheduler=DDIMScheduler(**AUDIOLDM2_SCHEDULER),
        text_encoder=ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=12)).eval(),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(pieces), d_model=T5_WIDTH, d_ff=16, d_kv=5, num_heads=2, num_layers=1)
        ).eval(),
        projection_model=AudioLDM2ProjectionModel(12, T5_WIDTH, TEXT_WIDTH).eval(),
        language_model=GPT2Model(
            GPT2Config(n_embd=TEXT_WIDTH, n_head=1, n_layer=1, n_positions=64, vocab_size=32, max_new_tokens=8)
        ).eval(),
        tokenizer=RobertaTokenizer(special, [], model_max_length=32),
        tokenizer_2=T5Tokenizer(pieces, extra_ids=0, model_max_length=32),
        feature_extractor=ClapFeatureExtractor(),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def saved(pipeline, folder: Path, **options) -> Path:
    pipeline.save_pretrained(folder, **options)
    return folder
