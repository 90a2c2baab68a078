"""Stability AI's names of Stable Video Diffusion's tensors, counted as sgm's constructors lay the modules down.

Each generator yields pairs: a published name, and the diffusers or transformers name of the same tensor.
"""

from __future__ import annotations

from collections.abc import Iterator

Pairs = Iterator[tuple[str, str]]
WEIGHTS = ("weight", "bias")


def both(published: str, ours: str) -> Pairs:
    for part in WEIGHTS:
        yield f"{published}.{part}", f"{ours}.{part}"


def residual(published: str, ours: str, shortcut: bool, time: bool = True) -> Pairs:
    """openaimodel.ResBlock: norm, SiLU, convolution; the time embedding; norm, SiLU, dropout, convolution."""
    yield from both(f"{published}.in_layers.0", f"{ours}.norm1")
    yield from both(f"{published}.in_layers.2", f"{ours}.conv1")
    if time:
        yield from both(f"{published}.emb_layers.1", f"{ours}.time_emb_proj")
    yield from both(f"{published}.out_layers.0", f"{ours}.norm2")
    yield from both(f"{published}.out_layers.3", f"{ours}.conv2")
    if shortcut:
        yield from both(f"{published}.skip_connection", f"{ours}.conv_shortcut")


def video_residual(published: str, ours: str, shortcut: bool) -> Pairs:
    """video_model.VideoResBlock."""
    yield from residual(published, f"{ours}.spatial_res_block", shortcut)
    yield from residual(f"{published}.time_stack", f"{ours}.temporal_res_block", False)
    yield f"{published}.time_mixer.mix_factor", f"{ours}.time_mixer.mix_factor"


def transformer_block(published: str, ours: str, over_time: bool) -> Pairs:
    """attention.BasicTransformerBlock and video_attention.VideoTransformerBlock."""
    for attention in ("attn1", "attn2"):
        for projection in ("to_q", "to_k", "to_v"):
            yield f"{published}.{attention}.{projection}.weight", f"{ours}.{attention}.{projection}.weight"
        yield from both(f"{published}.{attention}.to_out.0", f"{ours}.{attention}.to_out.0")
    for norm in ("norm1", "norm2", "norm3", *(["norm_in"] if over_time else [])):
        yield from both(f"{published}.{norm}", f"{ours}.{norm}")
    for ff in ("ff", *(["ff_in"] if over_time else [])):
        yield from both(f"{published}.{ff}.net.0.proj", f"{ours}.{ff}.net.0.proj")
        yield from both(f"{published}.{ff}.net.2", f"{ours}.{ff}.net.2")


def video_transformer(published: str, ours: str) -> Pairs:
    """video_attention.SpatialVideoTransformer, of depth 1."""
    for same in ("norm", "proj_in", "proj_out"):
        yield from both(f"{published}.{same}", f"{ours}.{same}")
    yield from transformer_block(f"{published}.transformer_blocks.0", f"{ours}.transformer_blocks.0", False)
    yield from transformer_block(f"{published}.time_stack.0", f"{ours}.temporal_transformer_blocks.0", True)
    yield from both(f"{published}.time_pos_embed.0", f"{ours}.time_pos_embed.linear_1")
    yield from both(f"{published}.time_pos_embed.2", f"{ours}.time_pos_embed.linear_2")
    yield f"{published}.time_mixer.mix_factor", f"{ours}.time_mixer.mix_factor"


def video_unet(widths: tuple[int, ...], layers: int, attended: set[int]) -> Pairs:
    """video_model.VideoUNet. widths: of each level, finest first; attended: the levels with attention."""
    root, last = "model.diffusion_model", len(widths) - 1
    yield from both(f"{root}.time_embed.0", "time_embedding.linear_1")
    yield from both(f"{root}.time_embed.2", "time_embedding.linear_2")
    yield from both(f"{root}.label_emb.0.0", "add_embedding.linear_1")
    yield from both(f"{root}.label_emb.0.2", "add_embedding.linear_2")
    yield from both(f"{root}.input_blocks.0.0", "conv_in")
    count, width, skips = 1, widths[0], [widths[0]]
    for level, wider in enumerate(widths):
        for layer in range(layers):
            block = f"{root}.input_blocks.{count}"
            yield from video_residual(f"{block}.0", f"down_blocks.{level}.resnets.{layer}", width != wider)
            if level in attended:
                yield from video_transformer(f"{block}.1", f"down_blocks.{level}.attentions.{layer}")
            count, width = count + 1, wider
            skips.append(width)
        if level != last:
            yield from both(f"{root}.input_blocks.{count}.0.op", f"down_blocks.{level}.downsamplers.0.conv")
            count += 1
            skips.append(width)
    yield from video_residual(f"{root}.middle_block.0", "mid_block.resnets.0", False)
    yield from video_transformer(f"{root}.middle_block.1", "mid_block.attentions.0")
    yield from video_residual(f"{root}.middle_block.2", "mid_block.resnets.1", False)
    count = 0
    for level in reversed(range(len(widths))):
        up = f"up_blocks.{last - level}"
        for layer in range(layers + 1):
            block, place = f"{root}.output_blocks.{count}", 1
            yield from video_residual(f"{block}.0", f"{up}.resnets.{layer}", width + skips.pop() != widths[level])
            width = widths[level]
            if level in attended:
                yield from video_transformer(f"{block}.1", f"{up}.attentions.{layer}")
                place = 2
            if level and layer == layers:
                yield from both(f"{block}.{place}.conv", f"{up}.upsamplers.0.conv")
            count += 1
    yield from both(f"{root}.out.0", "conv_norm_out")
    yield from both(f"{root}.out.2", "conv_out")


def image_residual(published: str, ours: str, shortcut: bool) -> Pairs:
    """model.ResnetBlock."""
    for same in ("norm1", "conv1", "norm2", "conv2"):
        yield from both(f"{published}.{same}", f"{ours}.{same}")
    if shortcut:
        yield from both(f"{published}.nin_shortcut", f"{ours}.conv_shortcut")


def attention(published: str, ours: str) -> Pairs:
    """model.AttnBlock."""
    for theirs, here in (("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        yield from both(f"{published}.{theirs}", f"{ours}.{here}")


def encoder(widths: tuple[int, ...], layers: int) -> Pairs:
    """model.Encoder, and the quantising convolution of the conditioner's autoencoder."""
    root, width = "conditioner.embedders.3.encoder.encoder", widths[0]
    yield from both(f"{root}.conv_in", "encoder.conv_in")
    for level, wider in enumerate(widths):
        for layer in range(layers):
            published = f"{root}.down.{level}.block.{layer}"
            yield from image_residual(published, f"encoder.down_blocks.{level}.resnets.{layer}", width != wider)
            width = wider
        if level != len(widths) - 1:
            yield from both(f"{root}.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv")
    yield from image_residual(f"{root}.mid.block_1", "encoder.mid_block.resnets.0", False)
    yield from attention(f"{root}.mid.attn_1", "encoder.mid_block.attentions.0")
    yield from image_residual(f"{root}.mid.block_2", "encoder.mid_block.resnets.1", False)
    yield from both(f"{root}.norm_out", "encoder.conv_norm_out")
    yield from both(f"{root}.conv_out", "encoder.conv_out")
    yield from both("conditioner.embedders.3.encoder.quant_conv", "quant_conv")


def frames_residual(published: str, ours: str, shortcut: bool) -> Pairs:
    """temporal_ae.VideoResBlock."""
    yield from image_residual(published, f"{ours}.spatial_res_block", shortcut)
    yield from residual(f"{published}.time_stack", f"{ours}.temporal_res_block", False, time=False)
    yield f"{published}.mix_factor", f"{ours}.time_mixer.mix_factor"


def video_decoder(widths: tuple[int, ...], layers: int) -> Pairs:
    """temporal_ae.VideoDecoder; `up.0` is the finest level."""
    root, width = "first_stage_model.decoder", widths[-1]
    yield from both(f"{root}.conv_in", "decoder.conv_in")
    yield from frames_residual(f"{root}.mid.block_1", "decoder.mid_block.resnets.0", False)
    yield from attention(f"{root}.mid.attn_1", "decoder.mid_block.attentions.0")
    yield from frames_residual(f"{root}.mid.block_2", "decoder.mid_block.resnets.1", False)
    for nth, level in enumerate(reversed(range(len(widths)))):
        for layer in range(layers + 1):
            published = f"{root}.up.{level}.block.{layer}"
            yield from frames_residual(published, f"decoder.up_blocks.{nth}.resnets.{layer}", width != widths[level])
            width = widths[level]
        if level:
            yield from both(f"{root}.up.{level}.upsample.conv", f"decoder.up_blocks.{nth}.upsamplers.0.conv")
    yield from both(f"{root}.norm_out", "decoder.conv_norm_out")
    yield from both(f"{root}.conv_out", "decoder.conv_out")
    yield from both(f"{root}.conv_out.time_mix_conv", "decoder.time_conv_out")


def vision(layers: int) -> Pairs:
    """open_clip's VisionTransformer. Queries, keys and values share a published name."""
    root, ours = "conditioner.embedders.0.open_clip.model.visual", "vision_model"
    yield f"{root}.class_embedding", f"{ours}.embeddings.class_embedding"
    yield f"{root}.conv1.weight", f"{ours}.embeddings.patch_embedding.weight"
    yield f"{root}.positional_embedding", f"{ours}.embeddings.position_embedding.weight"
    yield from both(f"{root}.ln_pre", f"{ours}.pre_layrnorm")
    yield from both(f"{root}.ln_post", f"{ours}.post_layernorm")
    yield f"{root}.proj", "visual_projection.weight"
    for layer in range(layers):
        block, here = f"{root}.transformer.resblocks.{layer}", f"{ours}.encoder.layers.{layer}"
        for part in WEIGHTS:
            for which in "qkv":
                yield f"{block}.attn.in_proj_{part}", f"{here}.self_attn.{which}_proj.{part}"
        yield from both(f"{block}.attn.out_proj", f"{here}.self_attn.out_proj")
        yield from both(f"{block}.ln_1", f"{here}.layer_norm1")
        yield from both(f"{block}.ln_2", f"{here}.layer_norm2")
        yield from both(f"{block}.mlp.c_fc", f"{here}.mlp.fc1")
        yield from both(f"{block}.mlp.c_proj", f"{here}.mlp.fc2")
