"""ComfyUI's models of video alone or audio alone, small and with random weights: the halves of joined models.

Needs ComfyUI alone, so a script can import this file too: `load`, `prompt` and `latent` work without a server.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import comfy.clip_vision
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from torch import Tensor

FRAMES, SIDE = 3, 4  # of a latent
WAN = {"image_model": "wan2.1", "dim": 32, "ffn_dim": 64, "freq_dim": 16, "text_dim": 24, "num_heads": 2, "num_layers": 2}
HUNYUAN = {
    "image_model": "hunyuan_video", "patch_size": [1, 1, 1], "context_in_dim": 24, "hidden_size": 32, "mlp_ratio": 2.0,
    "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [4, 6, 6], "theta": 256, "qkv_bias": True,
    "guidance_embed": False, "byt5": False, "meanflow": False, "use_cond_type_embedding": False, "vision_in_dim": None,
    "meanflow_sum": False, "vec_in_dim": None,
}  # fmt: skip
LTXV = {
    "image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 32, "attention_head_dim": 16, "num_attention_heads": 2,
    "caption_channels": 24, "num_layers": 2,
}  # fmt: skip
COSMOS = {
    "image_model": "cosmos", "max_img_h": 16, "max_img_w": 16, "max_frames": 16, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 48, "block_config": "FA-CA-MLP", "pos_emb_cls": "rope3d",
    "block_x_format": "THWBD", "affline_emb_norm": True, "use_adaln_lora": True, "adaln_lora_dim": 8, "num_blocks": 2,
    "num_heads": 2, "crossattn_emb_channels": 24, "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable", "rope_t_extrapolation_ratio": 2.0,
}  # fmt: skip
COGVIDEOX = {
    "image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 16, "text_embed_dim": 24,
    "num_layers": 2, "use_rotary_positional_embeddings": True,
}  # fmt: skip
SVD = {
    "image_size": 32, "in_channels": 8, "out_channels": 4, "model_channels": 64, "num_res_blocks": [1, 1], "channel_mult": [1, 1],
    "transformer_depth": [1, 1], "transformer_depth_middle": 1, "transformer_depth_output": [1, 1, 1, 1], "context_dim": 24,
    "use_linear_in_transformer": True, "use_spatial_transformer": True, "legacy": False, "num_classes": "sequential",
    "adm_in_channels": 768, "use_temporal_attention": True, "use_temporal_resblock": True, "extra_ff_mix_layer": True,
    "use_spatial_context": True, "merge_strategy": "learned_with_images", "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
    "disable_temporal_crossattention": False,
}  # fmt: skip
STABLE_AUDIO = {"audio_model": "dit1.0", "embed_dim": 64, "num_heads": 2, "depth": 2, "project_cond_tokens": True}
STABLE_AUDIO_3 = STABLE_AUDIO | {
    "io_channels": 256, "global_cond_dim": 768, "num_memory_tokens": 2, "local_add_cond_dim": 257, "norm_type": "rms_norm",
    "timestep_features_type": "expo", "global_cond_shared_embed": True, "global_cond_type": "adaLN",
    "attn_kwargs": {"qk_norm": "rms", "differential": True},
}  # fmt: skip
ACE_STEP = {
    "audio_model": "ace", "attention_head_dim": 16, "num_attention_heads": 2, "num_layers": 2, "mlp_ratio": 2.0,
    "patch_size": [16, 1], "text_embedding_dim": 24, "lyric_encoder_vocab_size": 64, "ssl_latent_dims": [8, 8],
}  # fmt: skip
ACE_STEP_15 = {
    "audio_model": "ace1.5", "hidden_size": 32, "text_hidden_dim": 24, "num_dit_layers": 2, "num_lyric_layers": 1,
    "num_timbre_layers": 1, "num_tokenizer_layers": 1, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16, "intermediate_size": 64,
    "fsq_dim": 32, "fsq_levels": [5, 3], "encoder_hidden_size": 32, "encoder_intermediate_size": 64, "encoder_num_heads": 2,
}  # fmt: skip


class Kind(NamedTuple):
    """A small model: its class and network, the sizes of its latent as it runs alone, and the width of a token of its text."""

    stream: str
    known: type
    network: dict[str, Any]
    sizes: tuple[int, ...]
    width: int


KNOWN = comfy.supported_models
KINDS = {
    "wan21": Kind("video", KNOWN.WAN21_T2V, WAN, (1, 16, FRAMES, SIDE, SIDE), 24),
    "wan21_i2v": Kind("video", KNOWN.WAN21_I2V, WAN | {"model_type": "i2v", "in_dim": 36}, (1, 16, FRAMES, SIDE, SIDE), 24),
    "wan22_5b": Kind("video", KNOWN.WAN22_T2V, WAN | {"in_dim": 48, "out_dim": 48}, (1, 48, FRAMES, SIDE, SIDE), 24),
    "hunyuan": Kind(
        "video", KNOWN.HunyuanVideo, HUNYUAN | {"in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "guidance_embed": True},
        (1, 16, FRAMES, SIDE, SIDE), 24,
    ),
    "hunyuan15": Kind(
        "video", KNOWN.HunyuanVideo15,
        HUNYUAN | {"in_channels": 65, "out_channels": 32, "use_cond_type_embedding": True, "vision_in_dim": 20},
        (1, 32, FRAMES, SIDE, SIDE), 24,
    ),
    "ltxv": Kind("video", KNOWN.LTXV, LTXV, (1, 128, FRAMES, SIDE, SIDE), 24),
    "cosmos": Kind("video", KNOWN.CosmosT2V, COSMOS, (1, 16, FRAMES, SIDE, SIDE), 24),
    "cogvideox": Kind("video", KNOWN.CogVideoX_T2V, COGVIDEOX, (1, 16, FRAMES, SIDE, SIDE), 24),
    "svd": Kind("video", KNOWN.SVD_img2vid, SVD, (FRAMES, 4, SIDE, SIDE), 24),
    "stable_audio": Kind("audio", KNOWN.StableAudio, STABLE_AUDIO, (1, 64, 12), 768),
    "stable_audio_3": Kind("audio", KNOWN.StableAudio3, STABLE_AUDIO_3, (1, 256, 10), 768),
    "ace_step": Kind("audio", KNOWN.ACEStep, ACE_STEP, (1, 8, 16, 12), 24),
    "ace_step_15": Kind("audio", KNOWN.ACEStep15, ACE_STEP_15, (1, 64, 12), 24),
}  # fmt: skip


def load(kind: str, seed: int, dtype: str = "float32", disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """Returns the MODEL with weights of `seed`."""
    known, network = KINDS[kind].known, KINDS[kind].network
    config = known(dict(network))
    is_fp8 = dtype.startswith("float8")
    config.set_inference_dtype(getattr(torch, dtype), torch.float32 if is_fp8 else None)
    config.custom_operations = comfy.ops.manual_cast if is_fp8 else comfy.ops.disable_weight_init
    model = config.get_model(_of_conditioners(kind, seed), "").eval()
    if kind == "ace_step":
        del model.diffusion_model.lyric_encoder.encoders[1:]  # core fixes their number and width
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in filter(torch.is_floating_point, model.diffusion_model.state_dict().values()):
            p.copy_(torch.randn(p.shape, generator=chance) * (0.7 * math.prod(p.shape[1:]) ** -0.5 if p.ndim > 1 else 0.3))
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, cpu, cpu)
    patcher.cached_patcher_init = (load, (kind, seed, dtype))  # as core's loaders leave it: how it is loaded again
    return patcher


def prompt(kind: str, seed: int, words: int = 6, values: bool = True) -> list:
    """Returns a CONDITIONING of `seed`. values: with all that the model can be given besides text, such as its first frame."""
    chance = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, words, KINDS[kind].width, generator=chance)
    return [[tokens, _needed(kind, words, chance) | (_more(kind, chance) if values else {})]]


def latent(kind: str, batch: int = 1, value: float = 0.0) -> Tensor:
    """Returns a latent as the model takes it alone."""
    first, *others = KINDS[kind].sizes
    return torch.full((batch * first, *others), value)


def _of_conditioners(kind: str, seed: int) -> dict[str, Tensor]:
    """Returns the weights of the parts of Stable Audio that are not in its network."""
    sizes = {
        "stable_audio": {"seconds_start": 257, "seconds_total": 257}, "stable_audio_3": {"seconds_total": 256},
    }.get(kind, {})  # fmt: skip
    chance, found = torch.Generator().manual_seed(seed + 1), {}
    for name, size in sizes.items():
        layer = f"conditioner.conditioners.{name}.embedder.embedding."
        found[f"{layer}1.weight"] = torch.randn(768, size, generator=chance) * size**-0.5
        found[f"{layer}1.bias"] = torch.randn(768, generator=chance) * 0.3
        if kind == "stable_audio":
            found[f"{layer}0.weights"] = torch.randn(128, generator=chance)
        else:
            found["conditioner.conditioners.prompt.padding_embedding"] = torch.randn(768, generator=chance)
    return found


def _needed(kind: str, words: int, chance: torch.Generator) -> dict[str, Any]:
    """Returns the values without which the network cannot run."""
    if kind == "ace_step":
        return {"conditioning_lyrics": torch.randint(64, (1, words + 2), generator=chance)}
    if kind == "ace_step_15":
        return {"conditioning_lyrics": torch.randn(1, words + 2, 24, generator=chance)}
    if kind == "ltxv":
        return {"attention_mask": torch.ones(1, words, dtype=torch.long)}
    return {"pooled_output": torch.randn(1, 8, generator=chance)}


def _more(kind: str, chance: torch.Generator) -> dict[str, Any]:
    """Returns the values that core's nodes add, each with an effect."""
    if kind in ("wan21_i2v", "hunyuan15"):
        mask = torch.ones(1, 1, FRAMES, SIDE, SIDE)
        mask[:, :, 0] = 0
        image = torch.randn(1, *KINDS[kind].sizes[1:], generator=chance)
        return {"concat_latent_image": image, "concat_mask": mask, "clip_vision_output": _seen(chance)}
    if kind == "hunyuan":
        return {"guidance": 3.0}
    if kind == "svd":
        image = torch.randn(1, 4, SIDE, SIDE, generator=chance)
        return {"concat_latent_image": image, "motion_bucket_id": 90, "fps": 7, "augmentation_level": 0.1}
    return _values_of_rate(kind)


def _values_of_rate(kind: str) -> dict[str, Any]:
    if kind in ("ltxv", "cosmos"):
        return {"frame_rate": 24}
    if kind.startswith("stable_audio"):
        return {"seconds_start": 0, "seconds_total": 5}
    return {"ace_step": {"lyrics_strength": 0.8}, "ace_step_15": {"audio_codes": [[1, 4, 7]]}}.get(kind, {})


def _seen(chance: torch.Generator) -> comfy.clip_vision.Output:
    seen = comfy.clip_vision.Output()
    seen.penultimate_hidden_states = torch.randn(1, 5, 1280, generator=chance)  # Wan's
    seen.last_hidden_state = torch.randn(1, 5, 20, generator=chance)  # HunyuanVideo 1.5's
    return seen


class TinyHalf:
    """A MODEL of video or audio alone, and a latent as it takes it."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "LATENT"), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"kind": (list(KINDS),), "seed": ("INT", {"default": 0})}
        copied = {"copy": ("INT", {"default": 0})}  # loads the same anew
        return {"required": of, "optional": copied | {"dtype": (["float32", "bfloat16"],), "batch": ("INT", {"default": 1})}}

    def make(self, kind, seed, copy=0, dtype="float32", batch=1):
        return load(kind, seed, dtype), {"samples": latent(kind, batch)}


class TinyHalfPrompt:
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"kind": (list(KINDS),), "seed": ("INT", {"default": 0})}
        others = {"words": ("INT", {"default": 6}), "values": ("BOOLEAN", {"default": True})}
        return {"required": of, "optional": others}

    def make(self, kind, seed, words=6, values=True):
        return (prompt(kind, seed, words, values),)


class MaskedLatent:
    """A LATENT of one value with these sizes, as JSON, and a mask of these sizes whose first entries along `dim` are 0."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sizes": ("STRING",), "mask": ("STRING",), "dim": ("INT", {"default": 2}), "value": ("FLOAT", {})}}

    def make(self, sizes, mask, dim, value):
        mask = torch.ones(json.loads(mask))
        mask.narrow(dim, 0, 1).zero_()
        return ({"samples": torch.full(json.loads(sizes), value), "noise_mask": mask},)


class TellClip:
    """The sizes of both streams of a LATENT, the mean of each mask or None, and the values beside it, as JSON."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        values = {"frames": ("INT", {}), "seconds": ("FLOAT", {}), "fps": ("FLOAT", {})}
        return {"required": {"latent": ("LATENT",)} | values}

    def tell(self, latent, **values):
        masks = latent["noise_mask"].unbind() if "noise_mask" in latent else ()
        told = {
            "sizes": [list(each.shape) for each in latent["samples"].unbind()],
            "means": [each.mean().item() for each in latent["samples"].unbind()],
            "mask_sizes": [list(each.shape) for each in masks], "masks": [each.float().mean().item() for each in masks],
        }  # fmt: skip
        return {"ui": {"text": [json.dumps(told | values)]}}


NODES = (TinyHalf, TinyHalfPrompt, MaskedLatent, TellClip)
