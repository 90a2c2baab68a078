"""A tiny random Kandinsky 6, saved by its own pipeline: classes, file names, shards, configs and tensor names are the real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky6TI2VAPipeline,
    Kandinsky6Transformer3DModel,
    MMAudioVAE,
    MMAudioVocoder,
    PiflowScheduler,
)
from diffusers.pipelines.kandinsky6.pipeline_kandinsky6_ti2va import _PROMPT_TEMPLATE
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

QWEN_WIDTH, CLIP_WIDTH = 16, 12
VIDEO_CHANNELS, AUDIO_CHANNELS, GRID = 4, 6, 3
SHARD = "150KB"
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
TRANSFORMER = {
    "in_visual_dim": VIDEO_CHANNELS, "out_visual_dim": VIDEO_CHANNELS, "in_text_dim": QWEN_WIDTH, "in_text_dim2": CLIP_WIDTH,
    "time_dim": 16, "patch_size": (1, 2, 2), "model_dim": 32, "ff_dim": 48, "num_text_blocks": 1, "num_visual_blocks": 3,
    "axes_dims": (4, 6, 6), "visual_cond": True, "in_audio_dim": AUDIO_CHANNELS, "out_audio_dim": AUDIO_CHANNELS,
    "model_dim_a": 16, "time_dim_a": 16, "ff_dim_a": 32, "audio_freqs_scaling": 0.25, "text_token_padding": True, "ca_rope": True,
    "cross_gates": True, "fix_modulation": True, "visual_token_type_num_embeddings": 2,
}  # fmt: skip
VAE = {
    "latent_channels": VIDEO_CHANNELS, "block_out_channels": (4, 4, 8, 8), "layers_per_block": 1, "norm_num_groups": 4,
}  # fmt: skip
AUDIO_VAE = {"mel_bins": 16, "latent_channels": AUDIO_CHANNELS, "hidden_channels": 8, "channel_multipliers": (1, 2),
             "layers_per_block": 1}  # fmt: skip
VOCODER = {
    "num_mels": 16, "upsample_initial_channel": 16, "upsample_rates": (8, 8, 8), "upsample_kernel_sizes": (16, 16, 16),
    "resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3),),
}  # fmt: skip
CLIP = {"hidden_size": CLIP_WIDTH, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 77}  # fmt: skip


IMAGES = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5], "merge_size": 2, "patch_size": 14, "rescale_factor": 1 / 255, "resample": 3,
    "size": {"longest_edge": 12845056, "shortest_edge": 3136}, "temporal_patch_size": 2,
}  # fmt: skip
PROCESSOR = {"processor_class": "Qwen2_5_VLProcessor"}
PROCESSORS = {
    "processor_config.json": PROCESSOR,
    "preprocessor_config.json": IMAGES | PROCESSOR | {"image_processor_type": "Qwen2VLImageProcessor"},
    "video_preprocessor_config.json": IMAGES | PROCESSOR | {
        "video_processor_type": "Qwen2VLVideoProcessor", "do_sample_frames": False, "min_frames": 4, "max_frames": 768,
    },
}  # fmt: skip
"""Of the processor that the published folder has as its tokenizer. Its classes need torchvision, so that only their settings are
written here. Duet uses the tokenizer alone."""


def build(folder: Path, seed: int = 0, distilled: bool = False) -> None:
    """Write the model to `folder`, as diffusers saves it, with the transformer in several files.

    distilled: as the distilled weights: predictions for several times at once, and their scheduler.
    """
    pipeline = make_pipeline(seed, distilled)
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "transformer")
    pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size=SHARD)
    for name, settings in PROCESSORS.items():
        (folder / "tokenizer" / name).write_text(json.dumps(settings, indent=2))
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"tokenizer": ["transformers", "Qwen2_5_VLProcessor"]}, indent=2))


def make_pipeline(seed: int = 0, distilled: bool = False) -> Kandinsky6TI2VAPipeline:
    """Return the model's pipeline. Its tokenizer is Qwen's alone, without the processor of images and videos."""
    outputs = {"out_visual_dim": GRID * VIDEO_CHANNELS, "out_audio_dim": GRID * AUDIO_CHANNELS} if distilled else {}
    tokenizer, clip_tokenizer = qwen_tokenizer(), _clip_tokenizer()
    clip = CLIPTextConfig(vocab_size=len(clip_tokenizer), bos_token_id=0, eos_token_id=1, pad_token_id=1, **CLIP)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, Any] = {
            "transformer": Kandinsky6Transformer3DModel(**TRANSFORMER | outputs),
            "vae": AutoencoderKLHunyuanVideo(**VAE),
            "text_encoder": Qwen2_5_VLForConditionalGeneration(_qwen_config(tokenizer)),
            "text_encoder_2": CLIPTextModel(clip),
            "audio_vae": MMAudioVAE(**AUDIO_VAE),
            "vocoder": MMAudioVocoder(**VOCODER),
        }
    pipeline = Kandinsky6TI2VAPipeline(
        **{name: network.eval().requires_grad_(False) for name, network in networks.items()},
        tokenizer=tokenizer, tokenizer_2=clip_tokenizer,
        scheduler=PiflowScheduler(n_grid=GRID, num_policy_substeps=16) if distilled else FlowMatchEulerDiscreteScheduler(shift=5.0),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a byte-pair tokenizer that was trained on the template alone, which then has more than its real 129 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        [_PROMPT_TEMPLATE], trainers.BpeTrainer(vocab_size=len(alphabet) + 150, initial_alphabet=alphabet)
    )
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = {token: i for i, token in enumerate([*sorted(model["vocab"], key=model["vocab"].get), *SPECIAL])}
    merges = [tuple(pair) for pair in model["merges"]]
    return Qwen2Tokenizer(
        vocabulary, merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="right",
        additional_special_tokens=SPECIAL[1:],
    )  # fmt: skip


def _clip_tokenizer() -> CLIPTokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=77)


def _qwen_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in (
        ("bos_token_id", "<|endoftext|>"), ("eos_token_id", "<|im_end|>"), ("pad_token_id", "<|endoftext|>"),
    )}  # fmt: skip
    vision = {name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in (
        ("vision_start_token_id", "vision_start"), ("vision_end_token_id", "vision_end"), ("image_token_id", "image_pad"),
        ("video_token_id", "video_pad"),
    )}  # fmt: skip
    text = {
        "vocab_size": len(tokenizer), "hidden_size": QWEN_WIDTH, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
    }  # fmt: skip
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": QWEN_WIDTH}
    return Qwen2_5_VLConfig(text_config=text | ids, vision_config=eyes, tie_word_embeddings=True, **vision)
