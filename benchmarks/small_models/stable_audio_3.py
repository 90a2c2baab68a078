"""A tiny random Stable Audio 3: a diffusers folder, or the authors' checkpoint."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from diffusers import AutoencoderSAME, FlowMatchEulerDiscreteScheduler, StableAudio3DiTModel, StableAudio3Pipeline
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from torch import Tensor, nn
from transformers import GemmaTokenizerFast, T5GemmaConfig, T5GemmaEncoderModel, T5GemmaModuleConfig

from ...av_models.published import same_file
from ...av_models.published.experts import stable_audio_3_file as names
from .ovi import save

WIDTH, TEXT_WIDTH, CHANNELS = 32, 16, 8


def build(folder: Path, seed: int = 0, distilled: bool = True) -> None:
    """Write a diffusers folder. distilled: of the weights for 8 steps, else of the base."""
    make_pipeline(seed, distilled).save_pretrained(folder)


def build_file(file: Path, seed: int = 0, dtype: torch.dtype = torch.float16) -> None:
    """Write the same model as the authors' checkpoint, which has no text encoder, to a file with a name of ComfyUI's."""
    pipeline = make_pipeline(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file, checkpoint_tensors(pipeline), dtype)


def checkpoint_tensors(pipeline: StableAudio3Pipeline) -> dict[str, Tensor]:
    """Return the tensors of the authors' checkpoint."""
    found = {names.PADDING: pipeline.transformer.prompt_padding_embedding}
    for own, x in pipeline.transformer.state_dict().items():
        if own != "prompt_padding_embedding":
            found[f"model.model.{names.published_name(own)}"] = _stored(own, x)
    for own, x in pipeline.vae.state_dict().items():
        found[f"pretransform.model.{same_file.published_name(own)}"] = _stored(own, x)
    linear = pipeline.duration_embedder.linear
    return found | {f"{names.SECONDS}weight": linear.weight, f"{names.SECONDS}bias": linear.bias}


def _stored(own: str, tensor: Tensor) -> Tensor:
    """Return a tensor with its parts in the order of the authors."""
    if not own.endswith("to_qkv.weight"):
        return tensor
    first, other, key, other_key, value = tensor.chunk(5)
    return torch.cat([first, key, value, other, other_key])


def make_pipeline(seed: int = 0, distilled: bool = True) -> StableAudio3Pipeline:
    """Return the pipeline."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = StableAudio3DiTModel(
            io_channels=CHANNELS, embed_dim=WIDTH, depth=2, num_heads=2, cond_token_dim=TEXT_WIDTH, global_cond_dim=TEXT_WIDTH,
            local_add_cond_dim=CHANNELS + 1, timestep_features_dim=16, num_memory_tokens=4,
        )  # fmt: skip
        vae = AutoencoderSAME(
            patch_size=4, encoder_channels=16, encoder_c_mults=[2], encoder_strides=[16], encoder_transformer_depths=[1],
            latent_dim=CHANNELS, dim_heads=16,
        )  # fmt: skip
        parts = vae, T5GemmaEncoderModel(_text_config(len(tokenizer))), StableAudio3DurationEmbedder(TEXT_WIDTH, 16), transformer
        for network in parts:
            fill_zeros(network)
    vae, text, duration, transformer = (network.eval().requires_grad_(False) for network in parts)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, stochastic_sampling=distilled)
    pipeline = StableAudio3Pipeline(vae, text, tokenizer, duration, transformer, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def fill_zeros(network: nn.Module) -> None:
    """Fill weights that are zeros at first, on which nothing would depend."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def _text_config(words: int) -> T5GemmaConfig:
    encoder = T5GemmaModuleConfig(
        vocab_size=words, hidden_size=TEXT_WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8,
    )  # fmt: skip
    return T5GemmaConfig(encoder=encoder, decoder=encoder, is_encoder_decoder=False, vocab_size=words)


def _tokenizer() -> GemmaTokenizerFast:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_letters, *string.digits, *".,!?'-"]
    return GemmaTokenizerFast({word: number for number, word in enumerate(words)}, model_max_length=256)
