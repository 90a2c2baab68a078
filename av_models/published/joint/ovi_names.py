"""The names of Ovi's tensors in its published files, which begin with `video_model.` and `audio_model.`."""

from __future__ import annotations

import re

TOWERS = {"video": "video_model", "audio": "audio_model"}

BLOCK = re.compile(r"blocks\.(\d+)\.(?:to_)?(video|audio)\.(.+)")
IN_BLOCK = (
    ("attn1.", "self_attn."),
    ("attn2.", "cross_attn."),
    ("to_out.0.", "o."),
    ("norm2.", "norm3."),
    ("ffn.net.0.proj.", "ffn.0."),
    ("ffn.net.2.", "ffn.2."),
    ("scale_shift_table", "modulation.modulation"),
)
PROJECTION = re.compile(r"\bto_([qkv])\.")
FUSION = {
    "norm": "pre_attn_norm_fusion", "norm_k": "norm_k_fusion", "to_k": "k_fusion", "to_v": "v_fusion",
}  # fmt: skip
ENDS = (
    ("condition_embedder.text_embedder.linear_1.", "text_embedding.0."),
    ("condition_embedder.text_embedder.linear_2.", "text_embedding.2."),
    ("condition_embedder.time_embedder.linear_1.", "time_embedding.0."),
    ("condition_embedder.time_embedder.linear_2.", "time_embedding.2."),
    ("condition_embedder.time_proj.", "time_projection.1."),
    ("patch_embedding.conv.", "patch_embedding.0."),
    ("patch_embedding.w", "patch_embedding.2.w"),
    ("scale_shift_table", "head.modulation"),
    ("proj_out.", "head.head."),
)


def published_name(name: str) -> str:
    """Return the published name of a tensor of `Ovi`."""
    if block := BLOCK.fullmatch(name):
        number, stream, rest = block.groups()
        prefix = f"{TOWERS[stream]}.blocks.{number}."
        return prefix + (_fusion_name(rest) if ".to_" in name[: block.start(3)] else _block_name(rest))
    stream, _, rest = name.partition(".")
    for own, published in ENDS:
        if rest.startswith(own) and not (own == "patch_embedding.w" and stream == "video"):
            rest = published + rest.removeprefix(own)
            break
    return f"{TOWERS[stream]}.{rest}"


def _fusion_name(rest: str) -> str:
    layer, _, kind = rest.partition(".")
    return f"cross_attn.{FUSION[layer]}.{kind}"


def _block_name(rest: str) -> str:
    for own, published in IN_BLOCK:
        rest = rest.replace(own, published)
    return PROJECTION.sub(r"\1.", rest)
