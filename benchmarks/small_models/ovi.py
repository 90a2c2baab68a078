"""A tiny random Ovi: the files that people download, with their names, and the tensor names of the authors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from ...av_models.codecs.mmaudio16 import BigVGAN16, MMAudioVAE16
from ...av_models.joint.ovi import Ovi, OviSizes
from ...av_models.published import wan_vae_file
from ...av_models.published.joint import ovi_names

MODEL, VIDEO_VAE = "model_960x960.safetensors", "wan2.2_vae.safetensors"
AUDIO_VAE, VOCODER = "mmaudio_vae_16k_fp32.safetensors", "mmaudio_vocoder_bigvgan_best_netG_fp32.safetensors"
TEXT_WIDTH = 32
SIZES = OviSizes(
    layers=3, width=128, heads=1, feed_forward=32, video_channels=48, audio_channels=6, audio_hidden=16, text_width=TEXT_WIDTH,
    frequencies=32,
)  # fmt: skip
VIDEO_VAE_SHAPES = {"encoder.conv1.weight": (4,), "decoder.head.0.gamma": (4,)}


def build(folder: Path, seed: int = 0) -> None:
    """Write the towers, both codecs and the text encoder to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        towers, vae = Ovi(SIZES), AutoencoderKLWan(**wan_vae_file.config_of(VIDEO_VAE_SHAPES))
    save(folder / MODEL, random_tensors(shapes_of(towers, ovi_names.published_name), seed), torch.bfloat16)
    save(folder / VIDEO_VAE, random_tensors(shapes_of(vae, wan_vae_file.published_name), seed + 1), torch.float16)
    save(folder / AUDIO_VAE, audio_vae_tensors(seed + 2))
    save(folder / VOCODER, vocoder_tensors(seed + 3))
    tokenizer = t5_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    config = UMT5Config(vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")


def shapes_of(network: nn.Module, published_name: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a network, by its published name."""
    return {published_name(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return random tensors, in the order of their names: weights that keep the variance, gains near 1, small biases."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name in sorted(shapes):
        x = torch.randn(shapes[name], generator=generator)
        if x.numel() in x.shape and name.endswith(("weight", "gamma")):
            found[name] = 1 + 0.1 * x
        else:
            found[name] = x / max(1, x[0].numel()) ** 0.5 if x.ndim > 1 else 0.01 * x
    return found


def audio_vae_tensors(seed: int) -> dict[str, Tensor]:
    """Return the tensors of MMAudio's VAE, whose weights are not normalized yet, as in the published file."""
    vae = MMAudioVAE16(latent_channels=SIZES.audio_channels, hidden_channels=8)
    own = {name.removeprefix("vae."): x for name, x in vae.state_dict().items() if name.startswith("vae.")}
    found = random_tensors({name: tuple(x.shape) for name, x in own.items()}, seed)
    return found | {"data_mean": own["data_mean"] - 2, "data_std": own["data_std"] * 0.9}


def vocoder_tensors(seed: int) -> dict[str, Tensor]:
    """Return the tensors of BigVGAN, whose weights are stored as directions and lengths, as in the published file."""
    plain = {name.replace("conv_post.0", "conv_post"): x for name, x in BigVGAN16(upsample_initial_channel=64).state_dict().items()}
    random = random_tensors({name: tuple(x.shape) for name, x in plain.items()}, seed)
    found: dict[str, Tensor] = {}
    for name, x in random.items():
        if name.endswith("filter"):
            found[name] = plain[name]
        elif name.endswith(".weight"):
            stem = name.removesuffix("weight") + "parametrizations.weight."
            lengths = x.flatten(1).norm(dim=1).view(-1, 1, 1)
            found[f"{stem}original0"] = lengths * (0.02 if "post" in name else 0.45)
            found[f"{stem}original1"] = x
        else:  # a large beta makes the activations nearly linear, so that the sound is not all clipped
            found[name] = x + 2 if name.endswith("beta") else 0.01 * x
    return found


def save(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Write a safetensors file."""
    save_file({name: x.to(dtype).contiguous() for name, x in tensors.items()}, path)


def t5_tokenizer(**options: Any) -> T5TokenizerFast:
    """Return a tokenizer of letters. options: others than its defaults."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return T5TokenizerFast(vocab=pieces, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", extra_ids=0, **options)
