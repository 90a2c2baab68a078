"""Recognizes text encoders, VAEs and LoRAs by the names and shapes of their tensors, whoever named them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..checkpoint import Shape
from .joint import mmaudio_files
from .oobleck_file import is_oobleck
from .wan_vae_file import version_of

Shapes = Mapping[str, Shape]
TEXT_ENCODER, VIDEO_VAE, AUDIO_VAE, IMAGE_VAE, LORA = "text_encoder", "video_vae", "audio_vae", "image_vae", "lora"
DIFFUSERS, ORIGINAL = "diffusers", "original"
T5_WORDS = "shared.weight"
T5_BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
T5_SIZES = {512: "small", 768: "base", 1024: "large", 2048: "XL", 4096: "XXL"}
CHECKPOINT = "model.diffusion_model."
LORA_END = re.compile(r"[._]lora[._](?:A|B|down|up)\b|\.(?:hada_w1_a|lokr_w1|lokr_w2)\b")


class Known(NamedTuple):
    """What a file is. names: whose names its tensors have."""

    model: str
    kind: str
    names: str


def known_file(shapes: Shapes) -> Known | None:
    """Return what a file with these tensors is, if it is a text encoder, a VAE or a LoRA; else None."""
    if any(name.startswith(CHECKPOINT) for name in shapes):
        return None  # such a file has text encoders and VAEs beside its network
    return next((known for test in TESTS if (known := test(shapes))), None)


def _lora(shapes: Shapes) -> Known | None:
    pairs = [name for name in shapes if LORA_END.search(name)]
    if not pairs:
        return None
    names = "kohya" if pairs[0].startswith("lora_") else "comfyui" if pairs[0].startswith("diffusion_model.") else DIFFUSERS
    model = next((words for words, marks in LORA_TOWERS if any(mark in name for name in pairs for mark in marks)), "")
    return Known(f"a LoRA of {model}" if model else "a LoRA", LORA, names)


LORA_TOWERS = (
    ("LTX-2", ("audio_attn1", "audio_to_video_attn", "audio_ff")),
    ("Kandinsky 6", ("visual_transformer_blocks", "text_transformer_blocks")),
    ("TangoFlux or Flux", ("single_transformer_blocks", "single_blocks", "double_blocks", "add_q_proj")),
    ("Wan", ("cross_attn", "blocks_0_self_attn", ".attn2.to_q", "_attn2_to_q", "self_attn.q")),
)
"""Parts of names by which the model of a LoRA is known; the first that fits."""


def _t5(shapes: Shapes) -> Known | None:
    if T5_WORDS not in shapes or T5_BIAS.format(0) not in shapes or len(shapes[T5_WORDS]) != 2:
        return None
    width = shapes[T5_WORDS][1]
    size = T5_SIZES.get(width, f"with width {width}")
    if T5_BIAS.format(1) in shapes:
        kind = "UMT5"
    else:
        kind = "T5 v1.1 or FLAN-T5" if "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in shapes else "T5"
    return Known(f"{kind}{' ' if ' ' in kind or ' ' in size else '-'}{size}", TEXT_ENCODER, DIFFUSERS)


def _original_umt5(shapes: Shapes) -> Known | None:
    if "token_embedding.weight" not in shapes or "blocks.1.pos_embedding.embedding.weight" not in shapes:
        return None
    width = shapes["token_embedding.weight"][-1]
    return Known("UMT5-XXL" if width == 4096 else f"UMT5 with width {width}", TEXT_ENCODER, ORIGINAL)


def _other_text_encoder(shapes: Shapes) -> Known | None:
    if any(name.endswith("text_model.encoder.layers.0.self_attn.q_proj.weight") for name in shapes):
        return Known("CLIP's text encoder", TEXT_ENCODER, DIFFUSERS)
    if "transformer.resblocks.0.attn.in_proj_weight" in shapes:
        return Known("CLIP's text encoder", TEXT_ENCODER, ORIGINAL)
    if any(name.endswith("layers.0.self_attn.q_proj.weight") for name in shapes) and any("embed_tokens" in name for name in shapes):
        return Known("a language model, such as Qwen or Gemma", TEXT_ENCODER, DIFFUSERS)
    return None


def _wan_vae(shapes: Shapes) -> Known | None:
    version = version_of(shapes)
    if version is None:
        return None
    names = ORIGINAL if "conv2.weight" in shapes else DIFFUSERS
    return Known(f"the VAE of Wan {version}", VIDEO_VAE, names)


def _oobleck(shapes: Shapes) -> Known | None:
    if not is_oobleck(shapes):
        return None
    names = ORIGINAL if any("decoder.layers." in name for name in shapes) else DIFFUSERS
    return Known("Oobleck, the VAE of Stable Audio and TangoFlux", AUDIO_VAE, names)


def _mmaudio(shapes: Shapes) -> Known | None:
    if mmaudio_files.VAE_MARK in shapes and "data_mean" in shapes:
        return Known("the VAE of MMAudio", AUDIO_VAE, ORIGINAL)
    if mmaudio_files.VOCODER_MARK in shapes:
        return Known("a BigVGAN vocoder", AUDIO_VAE, ORIGINAL)
    return None


def _other_vae(shapes: Shapes) -> Known | None:
    convolutions = [shapes[name] for name in ("decoder.conv_in.weight", "decoder.conv_in.conv.weight") if name in shapes]
    if not convolutions or not any(name.startswith("encoder.") for name in shapes):
        return None
    names = ORIGINAL if any(name.startswith("decoder.mid.") for name in shapes) else DIFFUSERS
    is_video = len(convolutions[0]) == 5
    return Known("a video VAE of another model" if is_video else "an image VAE", VIDEO_VAE if is_video else IMAGE_VAE, names)


TESTS: tuple[Callable[[Shapes], Known | None], ...] = (
    _lora, _t5, _original_umt5, _wan_vae, _oobleck, _mmaudio, _other_vae, _other_text_encoder,
)  # fmt: skip
