"""A tiny random PE-AV: a transformers folder with the files, config and tensor names of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PeAudioVideoConfig, PreTrainedTokenizerFast

from ...av_models.binders.pe_av import PEAV
from ...av_models.binders.pe_av_features import Processing
from .ovi import random_tensors, save

SIDE, HOP, OUT, FEATURES = 32, 1920, 32, 24
LOGITS = (
    "audio_video",
    "text_audio_video",
    "audio_plus_text",
    "video_plus_text",
    "audio_model.text_audio",
    "video_model.text_video",
)


def build(folder: Path, seed: int = 0, frames: int | None = None) -> None:
    """Write the model to `folder`. frames: as the variants that see that many frames, 16; None: as those that see all."""
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    config = PeAudioVideoConfig(**sizes(len(words)))
    with torch.device("meta"):
        own = PEAV(config, Processing(SIDE)).state_dict()
    shapes = {name: tuple(x.shape) for name, x in own.items()} | unused_shapes(config)
    save(folder / "model.safetensors", random_tensors(shapes, seed))
    (folder / "config.json").write_text(json.dumps(sizes(len(words)) | {"model_type": config.model_type}))
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "feature_extractor_type": "PeAudioFeatureExtractor", "feature_size": 1, "hop_length": HOP, "sampling_rate": 48_000,
        "padding_value": 0.0,
    }))  # fmt: skip
    (folder / "video_preprocessor_config.json").write_text(json.dumps({
        "video_processor_type": "PeVideoVideoProcessor", "size": {"height": SIDE, "width": SIDE}, "do_resize": True,
        "do_rescale": True, "do_normalize": True, "do_sample_frames": frames is not None, "num_frames": frames,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2,
    }))  # fmt: skip
    words.save_pretrained(folder)


def sizes(words: int) -> dict[str, Any]:
    """Return the settings of the small networks."""
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
    vision = {
        "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336", "num_classes": FEATURES,
        "global_pool": "map", "model_args": {
            "img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "ref_feat_shape": [6, 6],
        },
    }  # fmt: skip
    dac = {
        "model_type": "dac", "encoder_hidden_size": 2, "downsampling_ratios": [2, 8, 10, 12], "codebook_dim": 8,
    }  # fmt: skip
    text = {
        "model_type": "modernbert", "vocab_size": words, "hidden_size": OUT, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "pad_token_id": 0, "cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2,
    }  # fmt: skip
    both = tower | {
        "model_type": "pe_audio_video_encoder",
        "audio_config": tower | {"model_type": "pe_audio_encoder", "dac_config": dac},
        "video_config": tower | {"model_type": "pe_video_encoder", "vision_config": vision},
    }
    return {"text_config": text, "audio_video_config": both}


def unused_shapes(config: PeAudioVideoConfig) -> dict[str, tuple[int, ...]]:
    """Return the tensors of the published files that the binder does not need."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}_logit_{each}": (1,) for name in LOGITS for each in ("scale", "bias")}
    for name in ("audio_plus_text_head", "video_plus_text_head"):
        width = OUT + config.audio_video_config.audio_config.hidden_size
        shapes |= {f"{name}.layer_norm.{each}": (width,) for each in ("weight", "bias")}
        shapes[f"{name}.proj.weight"] = (OUT, width)
    return shapes


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of letters, with the special tokens of ModernBERT."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate([*special, *map(chr, range(32, 127))])}, "[UNK]"))
    words.pre_tokenizer = Split("", "isolated")
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
