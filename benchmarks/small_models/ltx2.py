"""A small random LTX-2.x, as diffusers saves it: sharded transformer and text encoder, connectors, VAEs, vocoder, tokenizer.

LTX-2.0, 2.3 and 2.5 differ in the transformer's modulation, the connectors, the vocoder and the text encoder.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE
from torch import nn
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    GemmaTokenizer,
)

VERSIONS = ("2.0", "2.3", "2.5")
VIDEO_WIDTH, AUDIO_WIDTH, TEXT_WIDTH, TEXT_LAYERS, BANDS = 32, 16, 24, 2, 16
TRANSFORMER: dict[str, Any] = {
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": VIDEO_WIDTH // 2,
    "cross_attention_dim": VIDEO_WIDTH, "audio_in_channels": 8, "audio_out_channels": 8, "audio_num_attention_heads": 2,
    "audio_attention_head_dim": AUDIO_WIDTH // 2, "audio_cross_attention_dim": AUDIO_WIDTH, "num_layers": 4,
    "caption_channels": TEXT_WIDTH, "rope_type": "split", "perturbed_attn": True,
}  # fmt: skip
OF_VERSION: dict[str, dict[str, Any]] = {"2.0": {}}
OF_VERSION["2.3"] = {
    "gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
}  # fmt: skip
OF_VERSION["2.5"] = OF_VERSION["2.3"] | {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
VAE: dict[str, Any] = {
    "latent_channels": 8, "block_out_channels": (8, 16, 16, 16), "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 1, 1, 1),
    "spatial_compression_ratio": 32, "temporal_compression_ratio": 8, "decoder_causal": False,
}  # fmt: skip
AUDIO_VAE: dict[str, Any] = {"base_channels": 8, "latent_channels": 2, "num_res_blocks": 1, "mel_bins": BANDS, "resolution": 32}
VOCODER: dict[str, Any] = {
    "in_channels": 2 * BANDS, "hidden_channels": 32, "resnet_kernel_sizes": [3], "resnet_dilations": [[1, 3, 5]],
}  # fmt: skip
BWE: dict[str, Any] = VOCODER | {
    "hidden_channels": 64, "bwe_in_channels": 2 * BANDS, "bwe_hidden_channels": 32, "bwe_resnet_kernel_sizes": [3],
    "bwe_resnet_dilations": [[1, 3, 5]], "num_mel_channels": BANDS, "filter_length": 160, "window_length": 160,
}  # fmt: skip
SCHEDULER: dict[str, Any] = {
    "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024, "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH, "intermediate_size": 32, "num_hidden_layers": TEXT_LAYERS, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 12, "sliding_window": 64,
}  # fmt: skip
SHARDS = {"transformer": "300KB", "text_encoder": "40KB"}  # the largest files: published networks are split into several


def build(folder: Path, seed: int = 0, version: str = "2.3") -> None:
    """Write a small random LTX-2 of this version to `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = make_pipeline(version)
    pipeline.save_pretrained(folder)
    for name, largest in SHARDS.items():
        for file in (folder / name).glob("*.safetensors"):
            file.unlink()
        getattr(pipeline, name).save_pretrained(folder / name, max_shard_size=largest)


def make_pipeline(version: str = "2.3") -> LTX2Pipeline:
    """Return LTX-2's pipeline with small random networks."""
    newer = version != "2.0"
    pipeline = LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=_random(AutoencoderKLLTX2Video(**VAE), 0.15),
        audio_vae=_random(AutoencoderKLLTX2Audio(**AUDIO_VAE), 0.2),
        text_encoder=_text_encoder(version),
        tokenizer=_tokenizer(),
        connectors=_random(LTX2TextConnectors(**_connectors(newer)), 0.2),
        transformer=_random(LTX2VideoTransformer3DModel(**TRANSFORMER | OF_VERSION[version]), 0.15),
        vocoder=_random(LTX2VocoderWithBWE(**BWE) if newer else LTX2Vocoder(**VOCODER), 0.1),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _connectors(newer: bool) -> dict[str, Any]:
    width = {"video": VIDEO_WIDTH, "audio": AUDIO_WIDTH} if newer else {"video": TEXT_WIDTH, "audio": TEXT_WIDTH}
    parts: dict[str, Any] = {"caption_channels": TEXT_WIDTH, "text_proj_in_factor": TEXT_LAYERS + 1, "rope_type": "split"}
    for name, each in width.items():
        parts |= {
            f"{name}_connector_num_attention_heads": 2, f"{name}_connector_attention_head_dim": each // 2,
            f"{name}_connector_num_layers": 1, f"{name}_connector_num_learnable_registers": 8, f"{name}_gated_attn": newer,
        }  # fmt: skip
    if newer:
        parts |= {
            "per_modality_projections": True, "video_hidden_dim": VIDEO_WIDTH, "audio_hidden_dim": AUDIO_WIDTH, "proj_bias": True,
        }  # fmt: skip
    return parts


def _tokenizer() -> GemmaTokenizer:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_letters, *string.digits, *".,!?'-"]
    return GemmaTokenizer({word: number for number, word in enumerate(words)}, model_max_length=1024)


def _text_encoder(version: str) -> nn.Module:
    size = TEXT | {"vocab_size": len(_tokenizer())}
    if version == "2.5":
        text = size | {"global_head_dim": 12, "layer_types": ["sliding_attention", "full_attention"]}
        return Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(text_config=text)).eval()
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 28}
    config = Gemma3Config(text_config=size | {"query_pre_attn_scalar": 12}, vision_config=vision, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config).eval()


def _random(network: nn.Module, spread: float) -> nn.Module:
    """Give every parameter and saved buffer random values: zeros and equal statistics would hide mistakes."""
    for name, value in network.state_dict().items():
        if name.endswith("latents_std"):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("norm_q.weight", "norm_k.weight", "mel_basis")):
            value.uniform_(0.1, 1.0)
        elif not name.endswith("filter"):
            value.normal_(0.0, spread)
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    import sys

    build(Path(sys.argv[1]))
