"""A small random HunyuanVideo 1.5 and a small random Stable Audio 3, as files that ComfyUI's own loaders read: for *Join Models*.

ComfyUI fixes the sizes of the text encoder (T5 base, here for both models) and of the audio's VAE: these make two files of 0.2 GB.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderSAME, FlowMatchEulerDiscreteScheduler, StableAudio3DiTModel, StableAudio3Pipeline
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from torch import Tensor
from torch.nn import functional
from transformers import T5Config, T5EncoderModel

from .ovi import random_tensors, save
from .stable_audio_3 import checkpoint_tensors, fill_zeros

Shapes = dict[str, tuple[int, ...]]
VIDEO, VIDEO_VAE = "duet_small_hunyuanvideo1.5.safetensors", "duet_small_hunyuanvideo1.5_vae.safetensors"
AUDIO, TEXT = "duet_small_stable_audio_3.safetensors", "duet_small_t5_base.safetensors"
WIDTH, TEXT_WIDTH, VISION_WIDTH, TIMES, CHANNELS = 128, 768, 1152, 256, 32
T5_BASE: dict[str, Any] = {"vocab_size": 32128, "d_model": TEXT_WIDTH, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "d_kv": 64}
MAPPING = "pretransform.model.decoder.layers.3.mapping.weight_v"


def build(models: Path, seed: int = 0) -> None:
    """Write the files to `models`, ComfyUI's folder of models."""
    for folder in ("checkpoints", "diffusion_models", "text_encoders", "vae"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    save(models / "diffusion_models" / VIDEO, random_tensors(network_shapes(), seed))
    save(models / "vae" / VIDEO_VAE, random_tensors(vae_shapes(), seed + 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save(models / "checkpoints" / AUDIO, audio_tensors(), torch.float16)
        save(models / "text_encoders" / TEXT, text_tensors(), torch.float16)


def network_shapes() -> Shapes:
    """Return the shape of each tensor of the video's network."""
    layers: Shapes = {
        "img_in.proj": (WIDTH, 2 * CHANNELS + 1, 1, 1, 1), "final_layer.linear": (CHANNELS, WIDTH),
        "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH), "txt_in.input_embedder": (WIDTH, TEXT_WIDTH),
        "vision_in.proj.0": (VISION_WIDTH,), "vision_in.proj.1": (VISION_WIDTH, VISION_WIDTH),
        "vision_in.proj.3": (WIDTH, VISION_WIDTH), "vision_in.proj.4": (WIDTH,),
    }  # fmt: skip
    for name, given in (("time_in", TIMES), ("txt_in.t_embedder", TIMES), ("txt_in.c_embedder", TEXT_WIDTH)):
        layers |= {f"{name}.in_layer": (WIDTH, given), f"{name}.out_layer": (WIDTH, WIDTH)}
    for block in (f"txt_in.individual_token_refiner.blocks.{number}." for number in (0, 1)):
        layers |= {f"{block}adaLN_modulation.1": (2 * WIDTH, WIDTH), f"{block}norm1": (WIDTH,), f"{block}norm2": (WIDTH,)}
        layers |= _attention_and_mlp(f"{block}self_attn", f"{block}mlp")
    double, single, gains = (
        "double_blocks.0.",
        "single_blocks.0.",
        [f"single_blocks.0.norm.{name}_norm" for name in ("query", "key")],
    )
    for stream in ("img", "txt"):
        layers |= {f"{double}{stream}_mod.lin": (6 * WIDTH, WIDTH)}
        layers |= _attention_and_mlp(f"{double}{stream}_attn", f"{double}{stream}_mlp")
        gains += [f"{double}{stream}_attn.norm.{name}_norm" for name in ("query", "key")]
    layers |= {f"{single}linear1": (7 * WIDTH, WIDTH), f"{single}linear2": (WIDTH, 5 * WIDTH)}
    layers |= {f"{single}modulation.lin": (3 * WIDTH, WIDTH)}
    others: Shapes = {f"{name}.weight": (WIDTH,) for name in gains} | {"cond_type_embedding.weight": (3, WIDTH)}
    return _with_biases(layers) | others


def _attention_and_mlp(attention: str, mlp: str) -> Shapes:
    return {
        f"{attention}.qkv": (3 * WIDTH, WIDTH), f"{attention}.proj": (WIDTH, WIDTH), f"{mlp}.0": (4 * WIDTH, WIDTH),
        f"{mlp}.2": (WIDTH, 4 * WIDTH),
    }  # fmt: skip


def vae_shapes() -> Shapes:
    """Return the shape of each tensor of the video's VAE, a TAEHV."""
    layers: Shapes = {
        "encoder.0": (64, 12, 3, 3), "encoder.17": (CHANNELS, 64, 3, 3), "decoder.1": (256, CHANNELS, 3, 3),
        "decoder.22": (12, 64, 3, 3),
    }  # fmt: skip
    others: Shapes = {}
    for first, frames in ((2, 2), (7, 2), (12, 1)):
        others |= {f"encoder.{first}.conv.weight": (64, 64 * frames, 1, 1), f"encoder.{first + 1}.weight": (64, 64, 3, 3)}
        layers |= _memory_blocks(f"encoder.{first + 2}", 64)
    for first, width, out, frames in ((3, 256, 128, 1), (9, 128, 64, 2), (15, 64, 64, 2)):
        layers |= _memory_blocks(f"decoder.{first}", width)
        others |= {
            f"decoder.{first + 4}.conv.weight": (width * frames, width, 1, 1),
            f"decoder.{first + 5}.weight": (out, width, 3, 3),
        }
    return _with_biases(layers) | others


def _memory_blocks(first: str, width: int) -> Shapes:
    """Return the layers of three blocks that see the frame before."""
    side, number = first.split(".")
    names = [f"{side}.{int(number) + block}.conv." for block in range(3)]
    return {f"{name}{layer}": (width, width * (2 if layer == 0 else 1), 3, 3) for name in names for layer in (0, 2, 4)}


def audio_tensors() -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of the audio's network and VAE."""
    network = StableAudio3DiTModel(
        io_channels=256, embed_dim=WIDTH, depth=2, num_heads=2, cond_token_dim=TEXT_WIDTH, global_cond_dim=TEXT_WIDTH,
        local_add_cond_dim=257, timestep_features_dim=TIMES, num_memory_tokens=4,
    )  # fmt: skip
    vae, seconds = AutoencoderSAME(), StableAudio3DurationEmbedder(TEXT_WIDTH, TIMES)
    for part in (network, vae, seconds):
        fill_zeros(part)
    found = checkpoint_tensors(StableAudio3Pipeline(vae, None, None, seconds, network, FlowMatchEulerDiscreteScheduler()))
    found |= {f"{block}.rope.inv_freq": 10_000.0 ** (-torch.arange(16) / 16) for block in _vae_blocks(found)}
    return found | {MAPPING: functional.pad(found[MAPPING], (1, 1))}  # three steps wide in ComfyUI, one in diffusers


def _vae_blocks(names: Iterable[str]) -> set[str]:
    return {name.partition(".pre_norm")[0] for name in names if name.startswith("pretransform") and ".pre_norm." in name}


def text_tensors() -> dict[str, Tensor]:
    """Return the tensors of the text encoder."""
    return {
        name: x for name, x in T5EncoderModel(T5Config(**T5_BASE)).state_dict().items() if name != "encoder.embed_tokens.weight"
    }


def _with_biases(layers: Shapes) -> Shapes:
    return {f"{name}.weight": shape for name, shape in layers.items()} | {
        f"{name}.bias": (each[0],) for name, each in layers.items()
    }
