"""Maps the parameter names of Stable Video Diffusion in diffusers to those in Stability AI's single file.

In the rules, names on the left are those of UNetSpatioTemporalConditionModel, AutoencoderKLTemporalDecoder and
CLIPVisionModelWithProjection. Names on the right are those of Stability-AI/generative-models: sgm's VideoUNet
(modules/diffusionmodules/video_model.py), Encoder (model.py), VideoDecoder (modules/autoencoding/temporal_ae.py), and
open_clip's VisionTransformer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

UNET = "model.diffusion_model."
DECODER = "first_stage_model."
ENCODER = "conditioner.embedders.3.encoder."  # the encoder of the first stage lacks the quantization convolution
VISION = "conditioner.embedders.0.open_clip.model.visual."

# Prefixes of tensors in the file that pipelines do not use.
UNUSED = (
    "first_stage_model.encoder.",  # images are encoded by the conditioner's encoder
    "conditioner.embedders.3.encoder.decoder.",
    "conditioner.embedders.3.encoder.post_quant_conv.",
    "conditioner.embedders.0.open_clip.model.",  # the text tower; the vision tower is used
    "model_ema.",
    "denoiser.",
)

Rule = tuple[str, str | Callable[[re.Match], str]]

RESIDUAL = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
            "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

UNET_ENDS: tuple[Rule, ...] = (
    (r"^time_embedding\.linear_1", "time_embed.0"),
    (r"^time_embedding\.linear_2", "time_embed.2"),
    (r"^add_embedding\.linear_1", "label_emb.0.0"),
    (r"^add_embedding\.linear_2", "label_emb.0.2"),
    (r"^conv_in", "input_blocks.0.0"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2"),
)
UNET_LAYERS: tuple[Rule, ...] = (
    (r"spatial_res_block\.(\w+)", lambda m: RESIDUAL[m[1]]),
    (r"temporal_res_block\.(\w+)", lambda m: f"time_stack.{RESIDUAL[m[1]]}"),
    (r"temporal_transformer_blocks", "time_stack"),
    (r"time_pos_embed\.linear_1", "time_pos_embed.0"),
    (r"time_pos_embed\.linear_2", "time_pos_embed.2"),
)
VAE: tuple[Rule, ...] = (
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.(to_out\.0|\w+)", lambda m: f"mid.attn_1.{ATTENTION[m[1]]}"),
    (r"(down|up)_blocks\.(\d)\.resnets\.(\d)", r"\1.\2.block.\3"),
    (r"(down|up)_blocks\.(\d)\.(down|up)samplers\.0", r"\1.\2.\3sample"),
    (r"temporal_res_block\.(\w+)", lambda m: f"time_stack.{RESIDUAL[m[1]]}"),
    (r"spatial_res_block\.|time_mixer\.", ""),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"time_conv_out", "conv_out.time_mix_conv"),
)
CLIP: tuple[Rule, ...] = (
    (r"^vision_model\.embeddings\.class_embedding", "class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding", "conv1"),
    (r"^vision_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^vision_model\.pre_layrnorm", "ln_pre"),
    (r"^vision_model\.post_layernorm", "ln_post"),
    (r"^vision_model\.encoder\.layers", "transformer.resblocks"),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"self_attn\.[qkv]_proj\.(\w+)", r"attn.in_proj_\1"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"^visual_projection\.weight", "proj"),
)


def unet_name(name: str, layers: int, with_attention: set[int]) -> str:
    """Return the published name of a UNet parameter.

    layers: number of residual blocks per down block. with_attention: numbers of the up blocks that have attention.
    """
    return UNET + _rename(name, (*UNET_ENDS, *_unet_blocks(layers, with_attention), *UNET_LAYERS))


def vae_name(name: str, levels: int) -> str:
    """Return the published name of a VAE parameter.

    levels: number of resolutions, which published decoders count from the finest.
    """
    if not name.startswith("decoder."):
        return ENCODER + _rename(name, VAE)
    finest_first = (r"up_blocks\.(\d)", lambda m: f"up_blocks.{levels - 1 - int(m[1])}")
    return DECODER + _rename(name, (finest_first, *VAE))


def vision_name(name: str) -> str:
    """Return the published name of a CLIP vision parameter.

    Queries, keys and values are thirds of one published matrix and have one name. `proj` is published transposed.
    """
    return VISION + _rename(name, CLIP)


def _unet_blocks(layers: int, with_attention: set[int]) -> tuple[Rule, ...]:
    """Return the rules for block numbers. VideoUNet numbers its blocks through all levels.

    A down level is `layers` blocks and a downsampler. An up level has one block more, and its upsampler is in the last one.
    """

    def down(m: re.Match) -> str:
        return f"input_blocks.{1 + int(m[1]) * (layers + 1) + int(m[3])}.{_INDEX[m[2]]}"

    def downsampler(m: re.Match) -> str:
        return f"input_blocks.{(int(m[1]) + 1) * (layers + 1)}.0.op"

    def up(m: re.Match) -> str:
        return f"output_blocks.{int(m[1]) * (layers + 1) + int(m[3])}.{_INDEX[m[2]]}"

    def upsampler(m: re.Match) -> str:
        return f"output_blocks.{int(m[1]) * (layers + 1) + layers}.{1 + (int(m[1]) in with_attention)}.conv"

    return (
        (r"^down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)", down),
        (r"^down_blocks\.(\d+)\.downsamplers\.0\.conv", downsampler),
        (r"^mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (r"^up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)", up),
        (r"^up_blocks\.(\d+)\.upsamplers\.0\.conv", upsampler),
    )


_INDEX = {"resnets": 0, "attentions": 1}


def _rename(name: str, rules: tuple[Rule, ...]) -> str:
    for pattern, published in rules:
        name = re.sub(pattern, published, name)
    return name
