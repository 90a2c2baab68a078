"""Tiny random models of Wan in the layouts that people download: diffusers' folders, and files with every kind of names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from ...av_models.published import wan_vae_file
from ...av_models.published.experts.wan_names import original_name
from .ovi import random_tensors, t5_tokenizer

TEXT_WIDTH, HEAD_SIZE = 32, 32
CHANNELS = {"ti2v": 48, "t2v": 16, "a14b": 16}
SHIFTS = {"ti2v": 5.0, "t2v": 3.0, "a14b": 12.0}
VAE_WIDTHS = {"encoder.conv1.weight": (4,), "decoder.head.0.gamma": (4,)}
NAMES: dict[str, Callable[[str], str]] = {
    "diffusers": str, "original": original_name, "comfyui": lambda name: f"model.diffusion_model.{original_name(name)}",
}  # fmt: skip
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
SCALED, NEWER_SCALED = "scaled fp8", "newer scaled fp8"
NETWORK, TEXT_ENCODER = "diffusion_models/wan2.2_ti2v_5B_fp16.safetensors", "text_encoders/umt5_xxl_fp16.safetensors"
VAES = {"ti2v": "vae/wan2.2_vae.safetensors", "t2v": "vae/wan_2.1_vae.safetensors", "a14b": "vae/wan_2.1_vae.safetensors"}


def build(folder: Path, seed: int = 0, size: str = "ti2v") -> None:
    """Write the folder of diffusers' pipeline. size: "ti2v", "t2v" or "a14b"."""
    second = {"transformer_2": transformer(size, seed + 1), "boundary_ratio": 0.875} if size == "a14b" else {}
    pipeline = WanPipeline(
        tokenizer=t5_tokenizer(), text_encoder=text_encoder(seed), vae=video_vae(size, seed),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFTS[size]),
        transformer=transformer(size, seed), expand_timesteps=size == "ti2v", **second,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def build_files(models: Path, seed: int = 0, size: str = "ti2v", network: str = NETWORK, precision: str = "fp16") -> None:
    """Write the files of ComfyUI to its folder `models`, with these names."""
    write_network(models / network, transformer(size, seed), "original", precision)
    write_vae(models / VAES[size], size, seed)
    write_text_encoder(models / TEXT_ENCODER, seed)


def config(size: str, layers: int = 2) -> dict[str, Any]:
    """Return the arguments of the transformer."""
    return {
        "num_attention_heads": 3, "attention_head_dim": HEAD_SIZE, "in_channels": CHANNELS[size], "out_channels": CHANNELS[size],
        "text_dim": TEXT_WIDTH, "freq_dim": 32, "ffn_dim": 64, "num_layers": layers,
    }  # fmt: skip


def transformer(size: str = "ti2v", seed: int = 0, layers: int = 2) -> WanTransformer3DModel:
    """Return a transformer with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WanTransformer3DModel(**config(size, layers)).eval().requires_grad_(False)


def text_encoder(seed: int = 0) -> UMT5EncoderModel:
    """Return a text encoder with random weights."""
    sizes = UMT5Config(
        vocab_size=len(t5_tokenizer()), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UMT5EncoderModel(sizes).eval().requires_grad_(False)


def video_vae(size: str = "ti2v", seed: int = 0) -> AutoencoderKLWan:
    """Return the VAE of a size with random weights."""
    vae = AutoencoderKLWan(**vae_config(size))
    shapes = {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
    vae.load_state_dict(random_tensors(shapes, seed))
    return vae.eval().requires_grad_(False)


def vae_config(size: str) -> dict[str, Any]:
    """Return the arguments of the VAE."""
    return wan_vae_file.config_of(VAE_WIDTHS) if size == "ti2v" else {"base_dim": 4, "z_dim": 16}


def write_vae(path: Path, size: str = "ti2v", seed: int = 0, names: str = "original") -> None:
    """Write the VAE to one file, with these names."""
    rename = wan_vae_file.published_name if size == "ti2v" else wan_vae_file.published_name_2_1
    tensors = video_vae(size, seed).state_dict()
    _save(path, {rename(name) if names == "original" else name: x.half() for name, x in tensors.items()})


def write_text_encoder(path: Path, seed: int = 0, tokenizer: bool = True) -> None:
    """Write the text encoder to one file, as ComfyUI has it, with its tokenizer."""
    words = {"spiece_model": torch.frombuffer(bytearray(sentencepiece_model()), dtype=torch.uint8)} if tokenizer else {}
    tensors = {name: x.half() for name, x in text_encoder(seed).named_parameters()}
    _save(path, tensors | words)


def write_network(path: Path, network: WanTransformer3DModel, names: str = "original", precision: str = "fp16") -> None:
    """Write a transformer to one file. names: of `NAMES`. precision: of `PRECISIONS`, or a scaled one."""
    _save(path, named_tensors(network, names, precision))


def write_shards(folder: Path, network: WanTransformer3DModel, names: str = "original", count: int = 2) -> None:
    """Write a transformer to several files with an index."""
    tensors, places = named_tensors(network, names, "fp32"), {}
    for number in range(count):
        name = f"diffusion_pytorch_model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = dict(list(tensors.items())[number::count])
        _save(folder / name, part)
        places |= dict.fromkeys(part, name)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def named_tensors(network: WanTransformer3DModel, names: str, precision: str) -> dict[str, Tensor]:
    """Return the tensors of a transformer as a file has them."""
    found: dict[str, Tensor] = {}
    for own, x in network.state_dict().items():
        name, stem = NAMES[names](own), NAMES[names](own).removesuffix(".weight")
        if precision in PRECISIONS:
            found[name] = x.to(PRECISIONS[precision])
        elif own.startswith("blocks.") and own.endswith(".weight") and x.ndim == 2:
            scale = x.abs().amax() / 448
            found[name] = (x / scale).to(torch.float8_e4m3fn)
            found[f"{stem}.scale_weight" if precision == SCALED else f"{stem}.weight_scale"] = scale
            if precision == NEWER_SCALED:
                found[f"{stem}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
        else:
            found[name] = x.half()
    if precision == SCALED:
        found[NAMES[names]("scaled_fp8")] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return found


def write_gguf(path: Path, network: WanTransformer3DModel, kind: str = "Q8_0", dimensions: int = 5) -> None:
    """Write a transformer to a GGUF file with original names: large matrices in a quantized type, all else in float32.

    dimensions: the most of a tensor; the shapes of others are in the metadata, as some writers have it.
    """
    import gguf

    path.parent.mkdir(parents=True, exist_ok=True)
    writer, quantized = gguf.GGUFWriter(path, "wan"), gguf.GGMLQuantizationType[kind]
    for own, x in network.state_dict().items():
        plain = x.float().numpy()
        if own.startswith("blocks.") and own.endswith(".weight") and x.ndim == 2:
            writer.add_tensor(original_name(own), gguf.quantize(plain, quantized), raw_dtype=quantized)
        else:
            if plain.ndim > dimensions:
                writer.add_array(f"comfy.gguf.orig_shape.{original_name(own)}", list(plain.shape))
            writer.add_tensor(original_name(own), plain.reshape(-1, *plain.shape[-3:]) if plain.ndim > dimensions else plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sentencepiece_model() -> bytes:
    """Return the small tokenizer as a SentencePiece model: a protocol buffer of pieces with scores and kinds."""
    kinds = {"<pad>": 3, "</s>": 3, "<s>": 3, "<unk>": 2}
    pieces = json.loads(t5_tokenizer().backend_tokenizer.to_str())["model"]["vocab"]
    found = b""
    for text, score in pieces:
        words, number = text.encode(), torch.tensor([score]).numpy().tobytes()
        piece = b"\x0a" + bytes([len(words)]) + words + b"\x15" + number + b"\x18" + bytes([kinds.get(text, 1)])
        found += b"\x0a" + bytes([len(piece)]) + piece
    return found


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in tensors.items()}, path)
